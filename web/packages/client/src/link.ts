// A link is one connection with the calls on it, in either form of frames.

import type { ClientCall } from "./call.js";
import type { Carrier, Connection, Ending } from "./carrier.js";
import { type Control, createControl, type Welcome } from "./control.js";
import type { Field } from "./fields.js";
import { type Frame, kindName, ProtocolError } from "./frames.js";
import { messageOf } from "./message-of.js";

/** A TracedFrame is a frame that came or went, for people who look. */
export interface TracedFrame {
	readonly direction: "up" | "down";
	readonly carrier: string;
	/** The number of the call on its connection, 0 for the connection itself. */
	readonly call: number;
	/** As "HEADERS". */
	readonly kind: string;
	/** Valid during the call only. */
	readonly payload: Uint8Array;
}

/** LinkEvents are what a link tells. */
export interface LinkEvents {
	/** WELCOME has come: calls can be attached. */
	open(): void;
	/** The server wants new calls elsewhere. */
	goaway(reason: string): void;
	/** A call is over, and there is room for another one. */
	released(): void;
	/** A call has lost its pipe, and the link lives. */
	detached(call: ClientCall, reason: string): void;
	/** The link is dead, with these calls on it. */
	lost(reason: string, calls: readonly ClientCall[]): void;
	trace?: ((frame: TracedFrame) => void) | undefined;
}

/** A Link is a connection with its calls. */
export interface Link {
	readonly carrier: string;
	/** What the server said last. There is none until the link is open. */
	readonly welcome: Welcome;
	/** The last round trip that was measured. */
	readonly roundTripMs: number | undefined;
	/** How many calls there are. */
	readonly size: number;
	attach(call: ClientCall): void;
	/** take takes those calls from the link that can go on elsewhere. */
	take(which: (call: ClientCall) => boolean): ClientCall[];
	/** ping measures a round trip in milliseconds. If nothing comes in that time, the link is lost. */
	ping(timeoutMs: number): Promise<number>;
	/** close ends the link without an event, and returns the calls that were on it. */
	close(how: Ending, reason?: string): ClientCall[];
}

/** A Shell is what the calls of a link need of it. */
export interface Shell {
	readonly hello: readonly Field[];
	readonly ticket: string | undefined;
	/** receive takes a frame of the connection. */
	receive(frame: Frame): void;
	/** owe lets a call settle in a while. */
	owe(call: ClientCall): void;
	/** hear says that bytes came, and takes them by what may find that the server broke the protocol. */
	hear(take: (b: Uint8Array) => void, b: Uint8Array): void;
	/** failed ends the link, because of an error of ours. */
	failed(err: unknown): void;
	trace(direction: "up" | "down", call: number, frame: Frame): void;
	readonly events: Pick<LinkEvents, "released" | "detached">;
}

/** Calls are those of a link, in one of the forms. */
export interface Calls {
	readonly size: number;
	/** connected gives them the connection. */
	connected(connection: Connection): void;
	/** data takes bytes of the connection's own pipe. */
	data(b: Uint8Array): void;
	/** say sends a frame of the connection. */
	say(frame: Frame): void;
	attach(call: ClientCall): void;
	take(which: (call: ClientCall) => boolean): ClientCall[];
	stop(): void;
}

/** owedMs is how long a call that can be resumed may wait with a CREDIT. */
const owedMs = 200;

/** createLink connects, or throws if the fields can't be sent. Whatever happens before the event open ends in lost. */
export function createLink(carrier: Carrier, endpoint: URL, hello: readonly Field[], events: LinkEvents): Link {
	const abort = new AbortController();
	const owing = new Set<ClientCall>();
	let connection: Connection | undefined;
	let owedTimer: ReturnType<typeof setTimeout> | undefined;
	let roundTripMs: number | undefined;
	let dead = false;

	const close = (how: Ending, reason?: string): ClientCall[] => {
		if (dead) return [];
		dead = true;
		clearTimeout(owedTimer);
		clearTimeout(late);
		control.stop();
		connection?.close(how, reason); // first: take gives up the pipes, as if the calls went on
		const left = calls.take(() => true);
		calls.stop();
		abort.abort();
		return left;
	};

	const lost = (reason: string) => {
		if (!dead) events.lost(`${carrier.name}: ${reason}`, close("cut", reason));
	};
	const failed = (err: unknown) => lost(messageOf(err));

	const settle = () => {
		owedTimer = undefined;
		const due = [...owing];
		owing.clear();
		for (const call of due) call.settle();
	};

	const control: Control = createControl({
		say: (frame) => calls.say(frame),
		open: () => opened(),
		goaway: events.goaway,
		silent: lost,
	});

	/** opened waits for the connection and for WELCOME, which may come before it. */
	const opened = () => {
		if (dead || !connection || !control.welcome) return;
		clearTimeout(late);
		events.open();
	};

	const shell: Shell = {
		hello,
		get ticket() {
			return control.welcome?.ticket;
		},
		receive(frame) {
			shell.trace("down", 0, frame);
			control.receive(frame);
		},
		owe(call) {
			owing.add(call);
			owedTimer ??= setTimeout(settle, owedMs);
		},
		hear(take, b) {
			if (dead) return;
			control.heard();
			try {
				take(b);
			} catch (err) {
				if (!(err instanceof ProtocolError)) throw err;
				lost(`the server broke the protocol: ${err.message}`);
			}
		},
		failed,
		trace(direction, call, { kind, payload }) {
			events.trace?.({ direction, carrier: carrier.name, call, kind: kindName(kind), payload });
		},
		events,
	};
	const calls = carrier.calls(shell);
	const late = setTimeout(() => lost(`no answer in ${carrier.connectMs} ms`), carrier.connectMs);

	const data = (b: Uint8Array) => shell.hear(calls.data, b);

	const connect = async () => {
		try {
			connection = await carrier.connect(endpoint, { data, closed: lost }, abort.signal);
		} catch (err) {
			return failed(err);
		}
		if (dead) return connection.close("cut");
		calls.connected(connection);
		opened();
	};
	queueMicrotask(connect); // who made the link has to know it before it can be lost

	return {
		carrier: carrier.name,
		get welcome() {
			return control.welcome as Welcome;
		},
		get size() {
			return calls.size;
		},
		attach: calls.attach,
		take: calls.take,
		async ping(timeoutMs) {
			roundTripMs = await control.ping(timeoutMs);
			return roundTripMs;
		},
		get roundTripMs() {
			return roundTripMs;
		},
		close,
	};
}
