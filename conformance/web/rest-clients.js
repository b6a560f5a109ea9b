// What runs in a page and in Node alike. Each function stands alone, since its text is what
// a page gets.

/**
 * follow returns all that an EventSource has seen when it has closed for good, or, if
 * closeAfter is given, when it was closed after so many events.
 */
export async function follow({ url, names = [], closeAfter }) {
	const seen = [];
	const source = new EventSource(url);
	let reconnects = 0;
	await new Promise((resolve) => {
		const take = (event) => {
			seen.push({ name: event.type, id: event.lastEventId, data: event.data });
			if (seen.length === closeAfter) {
				source.close();
				resolve();
			}
		};
		for (const name of ["message", "failure", "EOS", ...names]) source.addEventListener(name, take);
		source.addEventListener("error", () => {
			if (source.readyState === EventSource.CLOSED) resolve();
			else reconnects++;
		});
	});
	return { seen, reconnects };
}

/** run runs a program that prints what it gets, and returns that, or its error. */
export async function run({ program, lines }) {
	const AsyncFunction = (async () => {}).constructor;
	const printed = [];
	let full;
	const done = new Promise((resolve) => (full = resolve));
	const print = (...values) => {
		printed.push(values);
		if (printed.length === lines) full();
	};
	try {
		// A program that only adds listeners returns before it has printed.
		await new AsyncFunction("console", program)({ log: print, error: print });
		if (lines !== undefined) await done;
		return { printed };
	} catch (err) {
		return { printed, error: err.message };
	}
}

/** whole reads a response as one JSON document. */
export async function whole({ url, accept }) {
	const response = await fetch(url, { headers: { accept } });
	const text = await response.text();
	try {
		return { type: response.headers.get("content-type"), text, document: JSON.parse(text) };
	} catch (err) {
		return { type: response.headers.get("content-type"), text, error: err.name };
	}
}

/** abort gives up a stream after its first piece. */
export async function abort({ url, accept }) {
	const controller = new AbortController();
	const response = await fetch(url, { headers: { accept }, signal: controller.signal });
	const { value } = await response.body.getReader().read();
	controller.abort();
	return value.length;
}

/** talk opens a WebSocket, sends frames, and tells what came until its end. */
export function talk({ url, protocols = [], frames = [] }) {
	return new Promise((resolve) => {
		const socket = new WebSocket(url, protocols);
		const seen = [];
		socket.onopen = () => frames.forEach((f) => socket.send(f));
		socket.onmessage = (e) => seen.push(JSON.parse(e.data));
		socket.onclose = (e) => resolve({ seen, code: e.code, reason: e.reason, protocol: socket.protocol, clean: e.wasClean });
	});
}
