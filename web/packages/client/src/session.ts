// A session: calls, on one connection at a time, which is made anew when it is lost.

import { type ByteCall, createByteCall, type Pull } from "./bytes.js";
import { type ClientCall, createCallId } from "./call.js";
import type { Carrier } from "./carrier.js";
import type { Log } from "./debug.js";
import { createEmitter, type Listenable, type SessionEvent, type SessionState } from "./events.js";
import { askHeaders, type Field, fieldsOf } from "./fields.js";
import { createSingle, type Dialer, type Dialling, type LinkTold } from "./dial.js";
import { createLink, type Link, type TracedFrame } from "./link.js";
import { type Call, messagesOf } from "./message-call.js";
import { messageOf } from "./message-of.js";
import { isOffline, watchNetwork } from "./network.js";
import { Code, formatTimeout, statusOf } from "./status.js";

/** SessionOptions say where the gateway is and how it is reached. */
export interface SessionOptions {
	/** Where the gateway is, as https://api.example.com. */
	readonly baseUrl: string | URL;
	/**
	 * How. One is used as it is, of several the first one that works. If there is none: WebSocket, WebTransport, HTTP requests that stream,
	 * long poll; as far as the platform has them.
	 */
	readonly carriers?: Carrier | readonly Carrier[];
	/** The path of the gateway's endpoint below baseUrl, /sluice/v1 if missing. */
	readonly path?: string;
	/**
	 * Metadata of all calls, such as authorization. A function is asked at each connection, so that a token can be fresh. If it takes
	 * longer than waitMs, it has failed, and is asked again.
	 */
	readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
	/** How long a call waits for the first connection before it ends with UNAVAILABLE: 10000 ms if missing. */
	readonly waitMs?: number;
	/** How many bytes of a call may be under way to us, not yet read by the application: 262144 if missing. */
	readonly receiveWindow?: number;
	/** A call whose bytes nobody has taken for so long is cancelled: none is if missing. */
	readonly unreadMs?: number;
	/** How many bytes that have not left a call takes before send waits: 65536 if missing. */
	readonly sendBuffer?: number;
	/** The largest message that is taken: 4194304 bytes if missing. */
	readonly maxMessageBytes?: number;
	/** Whether events and frames are written to the console, readably. */
	readonly debug?: boolean;
	/** What asks the gateway about itself, if it is not the platform's. */
	readonly fetch?: typeof globalThis.fetch;
	/** What happens to the connection. */
	readonly onEvent?: (event: SessionEvent) => void;
	/** Each frame, for people who look. */
	readonly onFrame?: (frame: TracedFrame) => void;
}

export type { Call } from "./message-call.js";

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
	/**
	 * Messages may be lost: they go in datagrams if they are small, the carrier has datagrams and the gateway agrees. Those that are
	 * older than one that has come are dropped, or, with "late", delivered.
	 */
	readonly datagrams?: boolean | "late" | undefined;
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

/** A connection that drains is left so long after its last call: its last frames may be on their way. */
const lingerMs = 250;

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
	let carriers = listOf(options.carriers);
	let log: Log | undefined;
	const logging = options.debug && import("./debug.js").then(({ createLog }) => (log = createLog()));
	const emitter = createEmitter();

	const running = new Set<ClientCall>();
	const waiting = new Map<ClientCall, ReturnType<typeof setTimeout>>(); // for a link, and until when
	const begunAt = new WeakMap<ClientCall, number>();
	const draining = new Set<Link>(); // have calls, and take no more
	let current: Link | undefined; // open
	let dialer: Dialer | undefined;
	let making = false; // the dialer
	let kept = false; // by the browser, out of sight
	let retry: ReturnType<typeof setTimeout> | undefined;
	let failures = 0; // since a connection was of use
	let useful = false; // a call has got something on the current one
	let lastError = "";
	let detachMs = 60_000;
	let closed = false;
	let opens = 0;
	let roundTripMs: number | undefined;

	const emit = (event: SessionEvent) => {
		log?.event(event);
		options.onEvent?.(event);
		emitter.emit(event);
	};

	const snapshot = (): SessionState => ({
		phase: closed ? "closed" : current ? "open" : making || dialer?.dialing ? "connecting" : retry ? "waiting" : "idle",
		carrier: current?.carrier,
		roundTripMs: current && roundTripMs,
		reconnects: Math.max(0, opens - 1),
		reason: lastError || undefined,
		offline: isOffline(),
	});
	let state = snapshot();

	/** update tells the state if it has changed. */
	const update = () => {
		const before = state;
		state = snapshot();
		if (JSON.stringify(before) !== JSON.stringify(state)) emitter.emit({ type: "state", state });
	};

	// Calls that wait.

	const unwait = (call: ClientCall) => {
		clearTimeout(waiting.get(call));
		waiting.delete(call);
	};

	const wait = (call: ClientCall) => {
		if (waiting.has(call)) return;
		const ms = call.begun ? detachMs : waitMs;
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
			else if (call.lossy && !call.begun && dialer?.datagrams()) continue;
			else if (current && current.size < current.welcome.maxCalls) {
				unwait(call);
				if (!call.begun) begunAt.set(call, Date.now());
				// The server might have forgotten the call, and would begin another one.
				else if (Date.now() - (begunAt.get(call) as number) >= detachMs) call.hear();
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

	const ensure = () => {
		if (closed || kept || current || making || dialer?.dialing || retry || waiting.size === 0) return;
		void dial();
	};

	const dial = async () => {
		const list = carriers;
		if (!dialer) {
			making = true;
			update();
			let made: Dialer;
			try {
				await logging;
				made = await createDialer(list);
			} catch (err) {
				making = false;
				return failed(`carriers: ${messageOf(err)}`); // they could not be loaded
			}
			making = false;
			if (closed) return;
			if (list !== carriers) return void dial();
			dialer = made;
		}
		dialer.dial();
		update();
	};

	/** createDialer loads what one carrier does not need. */
	const createDialer = async (list: readonly Carrier[] | undefined): Promise<Dialer> => {
		if (list?.length === 1) return createSingle(list[0] as Carrier, dialling);
		const [all, { createAuto }] = await Promise.all([list ?? defaults(), import("./auto.js")]);
		return createAuto(all, dialling);
	};

	const defaults = async () => (await import("./carriers.js")).defaultCarriers();

	const link = (carrier: Carrier, hello: readonly Field[], told: LinkTold): Link => {
		emit({ type: "connecting", carrier: carrier.name });
		const made = createLink(carrier, endpoint, hello, {
			open: told.open,
			goaway(reason) {
				emit({ type: "goaway", carrier: carrier.name, reason });
				if (current !== made) return;
				current = undefined;
				dialer?.left(false);
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
			lost(reason, calls) {
				if (made === current || draining.has(made)) lost(made, reason, calls, true);
				else told.lost(reason);
			},
			trace(frame) {
				if (frame.direction === "down" && frame.call > 0) useful ||= made === current; // of use is what brings something
				log?.frame(frame);
				options.onFrame?.(frame);
			},
		});
		return made;
	};

	const won = (made: Link) => {
		const before = current;
		current = made;
		opens++;
		useful = false;
		roundTripMs = made.roundTripMs;
		detachMs = made.welcome.detach;
		clearTimeout(retry);
		retry = undefined;
		emit({
			type: "open",
			carrier: made.carrier,
			node: made.welcome.node,
			resuming: [...waiting.keys()].filter((c) => c.begun).length,
		});
		if (before) {
			for (const call of before.take((c) => c.movable)) {
				if (call.detach("")) wait(call);
			}
			drain(before);
		}
		place();
		update();
		if (roundTripMs === undefined) measure(made, carrierMs).catch(() => {}); // an answer that is missing is an event
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
		setTimeout(() => {
			draining.delete(old);
			old.close("cut", "the calls go on elsewhere");
		}, lingerMs);
	};

	const lost = (made: Link, reason: string, calls: readonly ClientCall[], byItself: boolean) => {
		for (const call of calls) release(call, reason);
		draining.delete(made);
		if (current !== made) return;
		current = undefined;
		dialer?.left(byItself);
		if (useful) failures = 0;
		else failures++;
		again(reason, failures <= 1 ? 0 : backoff());
	};

	const failed = (reason: string) => {
		failures++;
		if (current) return update(); // it was to be another one
		again(reason, backoff());
	};

	const dialling: Dialling = {
		endpoint,
		fetch: options.fetch,
		async hello() {
			return fieldsOf(await askHeaders(options.headers, AbortSignal.timeout(waitMs)));
		},
		link,
		won,
		failed,
		tell: emit,
		explain(reason) {
			if (current) return;
			lastError = reason;
			update();
		},
		settled: () => queueMicrotask(place),
		get busy() {
			return running.size > 0;
		},
		get current() {
			return current;
		},
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
		const ms = isOffline() ? lastRetryMs : Math.min(lastRetryMs, firstRetryMs * 2 ** Math.min(10, failures - 1));
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
			unreadMs: options.unreadMs,
			datagrams: init.datagrams,
			ended() {
				clearTimeout(timer);
				signal?.removeEventListener("abort", abort);
				running.delete(machine);
				if (machine.over) unwait(machine);
			},
		});
		if (closed) call.cancel("the session is closed");
		else if (signal?.aborted) abort();
		else {
			signal?.addEventListener("abort", abort, { once: true });
			if (timeoutMs !== undefined) {
				const late = () => machine.cancel(statusOf(Code.deadlineExceeded, `no end in ${timeoutMs} ms`));
				timer = setTimeout(late, Math.min(timeoutMs, 2 ** 31 - 1));
			}
			running.add(machine);
			wait(machine);
			place();
		}
		return { call, pull };
	};

	const close = () => {
		if (closed) return;
		leave("the session is closed");
		closed = true;
		unwatch();
		update();
	};

	/** halt makes no connection. */
	const halt = () => {
		clearTimeout(retry);
		dialer?.stop();
		retry = dialer = undefined;
	};

	/** probe looks whether the connection lives: an answer that is missing is an event. */
	const probe = () => void current?.ping(probeMs).catch(() => {});

	/** leave ends the connection, and all calls with it. */
	const leave = (why: string) => {
		halt();
		const links = [current, ...draining];
		current = undefined;
		draining.clear();
		for (const l of links) l?.close("leave", why);
		for (const call of waiting.keys()) unwait(call);
		for (const call of running) call.cancel(statusOf(Code.cancelled, why));
		running.clear();
		update();
	};

	const wake = () => {
		kept = false;
		failures = 0;
		if (retry) retryNow();
		else ensure();
		probe();
		update();
	};

	const unwatch = watchNetwork({
		wake,
		changed() {
			probe();
			update();
		},
		hide(mayComeBack) {
			const reason = "the page was closed";
			if (!mayComeBack) return leave(reason);
			kept = true; // and its calls with it, for as long as the gateway waits
			halt();
			for (const made of [...draining, current]) if (made) lost(made, reason, made.close("cut", reason), false);
			halt(); // what is lost is not looked for
			update();
		},
	});

	if (carriers?.length !== 1) createDialer(carriers).catch(() => {}); // loads it beforehand; dial says what goes wrong
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
			return state;
		},
		use(list) {
			carriers = listOf(list);
			failures = 0;
			halt();
			if (!closed && !making) void dial();
		},
		ping(timeoutMs = probeMs) {
			return current ? measure(current, timeoutMs) : Promise.reject(new Error("there is no connection"));
		},
		cut() {
			const made = current;
			if (made) lost(made, `${made.carrier}: cut`, made.close("cut", "cut"), false);
		},
		close,
	};
}

function listOf(carriers: SessionOptions["carriers"]): readonly Carrier[] | undefined {
	return carriers && "connect" in carriers ? [carriers] : carriers?.length ? carriers : undefined;
}
