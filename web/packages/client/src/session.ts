// A session: calls, on one connection at a time, which is made anew when it is lost.

import { type ByteCall, createByteCall, iterate, type Pull } from "./bytes.js";
import { type ClientCall, createCallId } from "./call.js";
import type { Carrier } from "./carrier.js";
import { createLog } from "./debug.js";
import { createEmitter, type Listenable, type SessionEvent, type SessionState } from "./events.js";
import { type Field, fieldsOf } from "./fields.js";
import { createLink, type Link, type TracedFrame } from "./link.js";
import { createAssembler, encodeMessage, MessageError } from "./messages.js";
import { Code, formatTimeout, StatusError, statusOf } from "./status.js";

/** SessionOptions say where the gateway is and how it is reached. */
export interface SessionOptions {
	/** Where the gateway is, as https://api.example.com. */
	readonly baseUrl: string | URL;
	/**
	 * How. One is used as it is, of several the first one that works. If missing: WebSocket, WebTransport, HTTP requests that stream,
	 * long poll; as far as the platform has them.
	 */
	readonly carriers?: Carrier | readonly Carrier[];
	/** The path of the gateway's endpoint below baseUrl, /sluice/v1 if missing. */
	readonly path?: string;
	/**
	 * Metadata of all calls, such as authorization. A function is asked at each connection, so that a token can be fresh.
	 */
	readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
	/** How long a call waits for the first connection before it ends with UNAVAILABLE: 10000 ms if missing. */
	readonly waitMs?: number;
	/** How many bytes of a call may be under way to us, not yet read by the application: 262144 if missing. */
	readonly receiveWindow?: number;
	/** How many bytes that have not left a call takes before send waits: 65536 if missing. */
	readonly sendBuffer?: number;
	/** The largest message that is taken: 4194304 bytes if missing. */
	readonly maxMessageBytes?: number;
	/** Whether events and frames are written to the console, readably. */
	readonly debug?: boolean;
	/** What happens to the connection. */
	readonly onEvent?: (event: SessionEvent) => void;
	/** Each frame, for people who look. */
	readonly onFrame?: (frame: TracedFrame) => void;
}

/** CallInit says what is called. */
export interface CallInit {
	/** As /pkg.Service/Method. */
	readonly path: string;
	readonly headers?: HeadersInit;
	/** Aborts the call, which ends with CANCELLED. */
	readonly signal?: AbortSignal | undefined;
	/** The call ends with DEADLINE_EXCEEDED after so long. */
	readonly timeoutMs?: number | undefined;
	/** Whether the call goes on when its connection is lost: true if missing. */
	readonly resumable?: boolean;
}

/** A Call is a call whose directions are messages, as bytes without a prefix. */
export interface Call extends Omit<ByteCall, "write" | "bytes"> {
	/** send sends a message. It resolves when there is room for more, and rejects with a StatusError if the call has ended. */
	send(message: Uint8Array): Promise<void>;
	/** The messages of the server. It throws a StatusError at its end unless the status is OK. Leaving a loop early cancels. */
	readonly messages: AsyncIterable<Uint8Array>;
}

/** A Session makes calls. It connects when there is one, and as often as it has to. */
export interface Session extends Listenable {
	/** call begins a call of messages. */
	call(init: CallInit): Call;
	/** open begins a call of bytes, for libraries that have messages of their own. */
	open(init: CallInit): ByteCall;
	/** The carrier of the connection that there is. */
	readonly carrier: string | undefined;
	/** How the session is now. A change is an event of the type state. */
	readonly state: SessionState;
	/** use goes to other carriers, as carriers of SessionOptions. Calls that can be resumed go along; the others end where they are. */
	use(carriers: Carrier | readonly Carrier[]): void;
	/** ping measures a round trip in milliseconds. */
	ping(timeoutMs?: number): Promise<number>;
	/** cut drops the connection as a network would, for tests. */
	cut(): void;
	/** close ends all calls, with CANCELLED, and the session. */
	close(): void;
}

const firstRetryMs = 250;
const lastRetryMs = 20_000;
const probeMs = 2000;

/** The first round trip may take as long as a connection. */
const carrierMs = 5000;

/**
 * connect makes a session.
 *
 *     const session = connect({ baseUrl: "https://api.example.com", carriers: createWebSocket() });
 *     const call = session.call({ path: "/chat.v1.Chat/Talk" });
 *     await call.send(message);
 *     for await (const answer of call.messages) …
 */
export function connect(options: SessionOptions): Session {
	const endpoint = new URL(options.baseUrl);
	endpoint.pathname = endpoint.pathname.replace(/\/$/, "") + (options.path ?? "/sluice/v1");
	const waitMs = options.waitMs ?? 10_000;
	let carriers = options.carriers && listOf(options.carriers);
	const log = options.debug ? createLog() : undefined;
	const emitter = createEmitter();

	const running = new Set<ClientCall>();
	const waiting = new Map<ClientCall, ReturnType<typeof setTimeout>>(); // for a link, and until when
	const begunAt = new WeakMap<ClientCall, number>();
	const draining = new Set<Link>(); // have calls, and take no more
	let current: Link | undefined; // open
	let next: Link | undefined; // connecting
	let retry: ReturnType<typeof setTimeout> | undefined;
	let failures = 0; // since a connection was of use
	let useful = false; // a call has got something on the current one
	let lastError = "";
	let detachMs = 60_000;
	let closed = false;
	let preparing = false;

	let opens = 0;
	let roundTripMs: number | undefined;

	const emit = (event: SessionEvent) => {
		log?.event(event);
		options.onEvent?.(event);
		emitter.emit(event);
	};

	const snapshot = (): SessionState => ({
		phase: closed ? "closed" : current ? "open" : next || preparing ? "connecting" : retry ? "waiting" : "idle",
		carrier: current?.carrier,
		roundTripMs: current && roundTripMs,
		reconnects: Math.max(0, opens - 1),
		reason: lastError || undefined,
		offline: (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false,
	});
	let state: SessionState | undefined;

	/** update tells the state if it has changed. */
	const update = () => {
		const now = snapshot();
		const before = state;
		if (before && Object.entries(now).every(([key, value]) => before[key as keyof SessionState] === value)) return;
		state = now;
		emitter.emit({ type: "state", state: now });
	};

	// Calls that wait.

	const unwait = (call: ClientCall) => {
		clearTimeout(waiting.get(call));
		waiting.delete(call);
	};

	const wait = (call: ClientCall) => {
		if (waiting.has(call)) return;
		let ms = waitMs;
		if (call.begun) ms = detachMs;
		// HEADERS must not be sent again later than this: the server might have forgotten the call.
		if (call.begun && !call.heard) ms = Math.max(0, (begunAt.get(call) ?? 0) + detachMs - Date.now());
		const expire = () => {
			unwait(call);
			const why = lastError ? `: ${lastError}` : "";
			const what = call.begun ? "the connection was lost, and there was no other" : "there was no connection";
			call.cancel(statusOf(Code.unavailable, `${what} in ${ms} ms${why}`));
			running.delete(call);
		};
		waiting.set(call, setTimeout(expire, ms));
	};

	/** place gives calls that wait to the link, as many as it takes. */
	const place = () => {
		for (const call of waiting.keys()) {
			if (call.over) unwait(call);
			else if (current && current.size < (current.welcome?.maxCalls ?? 0)) {
				unwait(call);
				if (!call.begun) begunAt.set(call, Date.now());
				current.attach(call);
			}
		}
		ensure();
	};

	const release = (call: ClientCall, reason: string) => {
		if (call.detach(reason)) wait(call);
		else running.delete(call);
	};

	// Links.

	const defaults = async () => (await import("./carriers.js")).defaultCarriers();

	const ensure = () => {
		if (closed || current || next || retry || preparing || waiting.size === 0) return;
		void prepare();
	};

	const prepare = async () => {
		preparing = true;
		update();
		let hello: Field[] = [];
		let list: readonly Carrier[] = [];
		try {
			const { headers } = options;
			hello = fieldsOf(new Headers(typeof headers === "function" ? await headers() : headers));
			carriers ??= await defaults();
			list = carriers;
		} catch (err) {
			preparing = false;
			return failed(`headers: ${err instanceof Error ? err.message : err}`);
		}
		preparing = false;
		if (closed || next) return update();
		const carrier = list[failures % list.length] as Carrier;
		emit({ type: "connecting", carrier: carrier.name });
		next = link(carrier, hello);
	};

	const link = (carrier: Carrier, hello: readonly Field[]): Link => {
		const made = createLink(carrier, endpoint, hello, {
			open: () => opened(made),
			goaway(reason) {
				emit({ type: "goaway", carrier: carrier.name, reason });
				if (current !== made) return;
				current = undefined;
				drain(made);
				ensure();
				update();
			},
			released() {
				useful ||= made === current;
				if (draining.has(made)) drain(made);
				else queueMicrotask(place);
			},
			detached(call, reason) {
				release(call, reason);
				setTimeout(place, firstRetryMs);
			},
			lost: (reason, calls) => lost(made, reason, calls),
			trace: trace(() => {
				useful ||= made === current;
			}),
		});
		return made;
	};

	/** trace looks at frames: one of a call that comes down says that the connection is of use. */
	const trace = (used: () => void) => (frame: TracedFrame) => {
		if (frame.direction === "down" && frame.call > 0) used();
		log?.frame(frame);
		options.onFrame?.(frame);
	};

	const opened = (made: Link) => {
		const before = current;
		next = undefined;
		current = made;
		opens++;
		useful = false;
		roundTripMs = undefined;
		detachMs = made.welcome?.detach ?? detachMs;
		emit({
			type: "open",
			carrier: made.carrier,
			node: made.welcome?.node,
			resuming: count(waiting.keys(), (c) => c.begun),
		});
		if (before) {
			for (const call of before.take((c) => c.movable)) {
				if (call.detach("")) wait(call);
			}
			drain(before);
		}
		place();
		update();
		measure(made, carrierMs).catch(() => {}); // an answer that is missing is an event
	};

	const measure = async (made: Link, timeoutMs: number) => {
		const ms = await made.ping(timeoutMs);
		if (made === current) roundTripMs = ms;
		update();
		return ms;
	};

	/** drain ends a link when its last call is over. Calls that went elsewhere may still be known there: they are no loss. */
	const drain = (old: Link) => {
		draining.add(old);
		if (old.size > 0) return;
		draining.delete(old);
		old.close("cut", "the calls go on elsewhere");
	};

	const lost = (made: Link, reason: string, calls: readonly ClientCall[]) => {
		for (const call of calls) release(call, reason);
		draining.delete(made);
		if (next === made) {
			next = undefined;
			return failed(reason);
		}
		if (current !== made) return;
		current = undefined;
		if (useful) failures = 0;
		else failures++;
		again(reason, failures <= 1 ? 0 : backoff());
	};

	const failed = (reason: string) => {
		failures++;
		again(reason, failures < (carriers?.length ?? 1) ? 0 : backoff());
	};

	const again = (reason: string, ms: number) => {
		lastError = reason;
		const wanted = waiting.size > 0;
		emit({ type: "lost", reason, waiting: waiting.size, retryMs: wanted ? ms : undefined });
		clearTimeout(retry);
		retry = wanted ? setTimeout(retryNow, ms) : undefined;
		update();
	};

	const retryNow = () => {
		clearTimeout(retry);
		retry = undefined;
		ensure();
	};

	const backoff = () => {
		const ms = Math.min(
			lastRetryMs,
			firstRetryMs * 2 ** Math.min(10, Math.floor((failures - 1) / (carriers?.length ?? 1))),
		);
		return ms * (0.5 + Math.random() / 2);
	};

	// Calls.

	const begin = (init: CallInit): { call: ByteCall; pull: Pull } => {
		const { path, signal, timeoutMs } = init;
		if (!/^\/[^/\s]+\/[^/\s]+$/.test(path)) throw new TypeError(`${JSON.stringify(path)} is not the path of a method`);
		const fields = fieldsOf(new Headers(init.headers));
		if (timeoutMs !== undefined) fields.push(["grpc-timeout", formatTimeout(timeoutMs)]);
		let timer: ReturnType<typeof setTimeout> | undefined;
		const abort = () => call.cancel("aborted by the signal");
		const { call, pull, machine } = createByteCall({
			path,
			fields,
			id: init.resumable === false ? undefined : createCallId(),
			window: options.receiveWindow ?? 262_144,
			sendBuffer: options.sendBuffer ?? 65_536,
			ended() {
				clearTimeout(timer);
				signal?.removeEventListener("abort", abort);
				running.delete(machine);
				if (machine.over) unwait(machine);
			},
		});
		if (closed) {
			machine.cancel(statusOf(Code.cancelled, "the session is closed"));
			return { call, pull };
		}
		if (signal?.aborted) {
			abort();
			return { call, pull };
		}
		signal?.addEventListener("abort", abort, { once: true });
		if (timeoutMs !== undefined) {
			const late = () => machine.cancel(statusOf(Code.deadlineExceeded, `no end in ${timeoutMs} ms`));
			timer = setTimeout(late, Math.min(timeoutMs, 2 ** 31 - 1));
		}
		running.add(machine);
		wait(machine);
		place();
		return { call, pull };
	};

	const close = () => {
		if (closed) return;
		leave("the session is closed");
		closed = true;
		update();
		for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
	};

	/** leave ends the connection, and all calls with it. */
	const leave = (why: string) => {
		clearTimeout(retry);
		retry = undefined;
		const links = [next, current, ...draining];
		next = current = undefined;
		draining.clear();
		for (const l of links) l?.close("leave", why);
		for (const call of waiting.keys()) unwait(call);
		for (const call of running) call.cancel(statusOf(Code.cancelled, why));
		running.clear();
		update();
	};

	// What the platform knows of the network. A page that goes away takes its calls along.

	const probe = () => {
		update();
		failures = 0;
		if (retry) retryNow();
		else current?.ping(probeMs).catch(() => {}); // an answer that is missing is an event
	};
	const listeners: [EventTarget, string, () => void][] = [];
	const listen = (target: unknown, type: string, listener: () => void) => {
		if (!(target instanceof EventTarget)) return;
		target.addEventListener(type, listener);
		listeners.push([target, type, listener]);
	};
	if (typeof EventTarget !== "undefined") {
		const { document } = globalThis as { document?: Document };
		listen(globalThis, "online", probe);
		listen(globalThis, "offline", update);
		if (document) {
			listen(document, "visibilitychange", () => document.visibilityState === "visible" && probe());
			listen(globalThis, "pagehide", () => leave("the page was closed"));
		}
	}

	update();
	return {
		addEventListener: emitter.addEventListener,
		removeEventListener: emitter.removeEventListener,
		open: (init) => begin(init).call,
		call(init) {
			const { call, pull } = begin(init);
			return messagesOf(call, pull, options.maxMessageBytes ?? 4_194_304);
		},
		get carrier() {
			return current?.carrier;
		},
		get state() {
			return state ?? snapshot();
		},
		use(list) {
			carriers = listOf(list);
			failures = 0;
			next?.close("cut", "another carrier was chosen");
			next = undefined;
			clearTimeout(retry);
			retry = undefined;
			if (!closed && !preparing) void prepare();
		},
		ping(timeoutMs = probeMs) {
			return current ? measure(current, timeoutMs) : Promise.reject(new Error("there is no connection"));
		},
		cut() {
			const made = current;
			if (made) lost(made, `${made.carrier}: cut`, made.close("cut", "cut"));
		},
		close,
	};
}

/** messagesOf makes a call of messages of one of bytes. */
function messagesOf({ write, ...call }: ByteCall, pull: Pull, limit: number): Call {
	const assembler = createAssembler(limit);
	const next = async () => {
		try {
			for (;;) {
				const message = assembler.next();
				if (message) return message;
				const b = pull.pull();
				if (b) assembler.push(b);
				else if (!(await pull.wait())) return undefined;
			}
		} catch (err) {
			if (!(err instanceof MessageError)) throw err;
			const status = statusOf(err.tooLarge ? Code.resourceExhausted : Code.internal, err.message);
			pull.fail(status);
			throw new StatusError(status);
		}
	};
	return {
		...call,
		send: (message) => write(encodeMessage(message)),
		messages: iterate(next, call.cancel),
	};
}

function listOf(carriers: Carrier | readonly Carrier[]): readonly Carrier[] {
	const list = "connect" in carriers ? [carriers] : carriers;
	if (list.length === 0) throw new TypeError("a session needs a carrier");
	return list;
}

function count<T>(list: Iterable<T>, which: (t: T) => boolean): number {
	let n = 0;
	for (const t of list) if (which(t)) n++;
	return n;
}
