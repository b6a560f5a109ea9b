// What the Connect conformance suite judges, in a page or in Node: a client as Connect-ES generates it, on the transport of
// web/packages/client. It takes a ClientCompatRequest and makes a ClientCompatResponse of it.
import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { anyUnpack, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, createClient } from "@connectrpc/connect";
import { createGzip, createSluiceTransport } from "../../web/packages/client/src/connect.ts";
import { carriers } from "./carriers.js";

const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const base64Of = (bytes) => {
	let text = "";
	for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
	return btoa(text);
};
const wait = (ms) => (ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined);

let registry, carrier, hash;
const message = (name) => registry.getMessage(`connectrpc.conformance.v1.${name}`);
const transports = new Map();

/** prepare takes the suite's types, and what the calls go over. */
globalThis.prepare = (options) => {
	registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytesOf(options.types)));
	({ carrier, hash } = options);
};

const gzip = createGzip();
const compressionGzip = 2; // COMPRESSION_GZIP

/** transportOf has one transport for each server, limit and compression. */
function transportOf({ host, port, serverTlsCert, messageReceiveLimit: limit, compression }) {
	const key = `${host}:${port} ${limit} ${compression}`;
	if (!transports.has(key)) {
		transports.set(key, createSluiceTransport({
			baseUrl: `${serverTlsCert.length > 0 ? "https" : "http"}://${host}:${port}`, carriers: carriers[carrier](hash), unary: "session",
			...(limit > 0 ? { maxMessageBytes: limit } : {}),
			...(compression === compressionGzip ? { acceptCompression: [gzip], sendCompression: gzip, compressMinBytes: 0 } : {}),
		}));
	}
	return transports.get(key);
}

/** answer makes the call. Request and response are base64. */
globalThis.answer = async (base64) => {
	const request = fromBinary(message("ClientCompatRequest"), bytesOf(base64));
	let result;
	try {
		result = { case: "response", value: await call(request) };
	} catch (err) {
		result = { case: "error", value: create(message("ClientErrorResult"), { message: String(err?.stack ?? err) }) };
	}
	return base64Of(toBinary(message("ClientCompatResponse"), create(message("ClientCompatResponse"), { testName: request.testName, result })));
};

async function call(request) {
	const service = registry.getService(request.service);
	const method = service.methods.find((m) => m.name === request.method);
	const invoke = createClient(service, transportOf(request))[method.localName];
	const messages = request.requestMessages.map((any) => anyUnpack(any, registry));
	const { case: when, value } = request.cancel?.cancelTiming ?? {};
	const abort = new AbortController();
	const result = create(message("ClientResponseResult"));
	const headers = new Headers();
	for (const { name, value } of request.requestHeaders) for (const v of value) headers.append(name, v);
	const options = {
		headers, signal: abort.signal, timeoutMs: request.timeoutMs,
		onHeader: (h) => (result.responseHeaders = headersOf(h)),
		onTrailer: (t) => (result.responseTrailers = headersOf(t)),
	};

	let answered = () => {};
	const take = ({ payload }) => {
		result.payloads.push(payload ?? create(message("ConformancePayload")));
		if (when === "afterNumResponses" && result.payloads.length === value) abort.abort();
		answered();
	};
	const sent = () => {
		if (when === "beforeCloseSend") abort.abort();
		if (when === "afterCloseSendMs") setTimeout(() => abort.abort(), value);
	};
	const one = async () => {
		await wait(request.requestDelayMs);
		const answer = invoke(messages[0], options);
		sent();
		return answer;
	};
	const all = async function* () {
		const alternate = request.streamType === 5; // full duplex: each message waits for the answer to the one before
		for (const m of messages) {
			await wait(request.requestDelayMs);
			const answer = new Promise((resolve) => (answered = resolve));
			yield m;
			if (alternate) await answer;
		}
		sent();
	};

	try {
		switch (method.methodKind) {
			case "unary":
				take(await one());
				break;
			case "client_streaming":
				take(await invoke(all(), options));
				break;
			case "server_streaming":
				for await (const m of (await one())) take(m);
				break;
			case "bidi_streaming":
				for await (const m of invoke(all(), options)) take(m);
				break;
		}
	} catch (err) {
		fail(result, ConnectError.from(err));
	}
	return result;
}

/** fail writes an error. It has headers and trailers as one, so they are in the place of both. */
function fail(result, err) {
	const details = err.details.map((d) => ({ typeUrl: `type.googleapis.com/${d.type}`, value: d.value }));
	result.error = create(message("Error"), { code: err.code, message: err.rawMessage, details });
	if (result.responseHeaders.length === 0) result.responseHeaders = headersOf(err.metadata);
	result.responseTrailers = headersOf(err.metadata);
}

const headersOf = (headers) => [...headers].map(([name, value]) => create(message("Header"), { name, value: [value] }));
