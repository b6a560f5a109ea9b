// The frames of a connection: WELCOME, GOAWAY, and PING both ways.

import { type Field, parseFields } from "./fields.js";
import { type Frame, Kind, kindName, ProtocolError } from "./frames.js";

/** A Welcome is what the server said of itself. */
export interface Welcome {
	/** Without it no call can be resumed. */
	readonly ticket: string | undefined;
	/** The name of the server, for people. */
	readonly node: string | undefined;
	/** Milliseconds that a call waits for its client. */
	readonly detach: number;
	/** Milliseconds of silence before a PING. */
	readonly ping: number;
	readonly maxCalls: number;
}

/** ControlEvents are what a Control tells. */
export interface ControlEvents {
	/** A frame is to be sent. */
	say(frame: Frame): void;
	/** The first WELCOME has come. */
	open(): void;
	/** The server takes no new calls. */
	goaway(reason: string): void;
	/** Nothing was heard for too long. */
	silent(reason: string): void;
}

/** A Control has what is about the connection, and not about a call. */
export interface Control {
	readonly welcome: Welcome | undefined;
	/** heard says that bytes came. */
	heard(): void;
	/** receive takes a frame. What it throws ends the connection. */
	receive(frame: Frame): void;
	/** ping measures a round trip in milliseconds. If nothing comes in that time, the connection is silent. */
	ping(timeoutMs: number): Promise<number>;
	/** stop ends the watch. A ping may still be silent, of which who stopped it wants to hear nothing. */
	stop(): void;
}

/** createControl begins to watch the connection at WELCOME. */
export function createControl(events: ControlEvents): Control {
	let welcome: Welcome | undefined;
	let heardAt = 0;
	let pinged = false;
	let timer: ReturnType<typeof setTimeout> | undefined;
	let pings = 0;
	const probes: (() => void)[] = []; // by what stands in PING: an answer may come late, behind another PING

	const sendPing = () => events.say({ kind: Kind.ping, payload: new Uint8Array(8).fill(++pings) });

	/** watch sends a PING when nothing was heard for a while, and gives up after as long again. */
	const watch = (period: number) => {
		const silence = Date.now() - heardAt;
		if (silence < period) {
			pinged = false;
		} else if (pinged) {
			return events.silent(`nothing was heard for ${Math.round(silence / 1000)} s`);
		} else {
			pinged = true;
			sendPing();
		}
		timer = setTimeout(() => watch(welcome?.ping ?? period), pinged ? period : period - silence);
	};

	const welcomed = (fields: readonly Field[]) => {
		const first = !welcome;
		welcome = parseWelcome(fields, welcome);
		if (!first) return;
		heardAt = Date.now();
		watch(welcome.ping);
		events.open();
	};

	return {
		get welcome() {
			return welcome;
		},
		heard() {
			heardAt = Date.now();
			pinged = false;
		},
		receive({ kind, payload }) {
			if (!welcome && kind !== Kind.welcome) throw new ProtocolError(`${kindName(kind)} before WELCOME`);
			switch (kind) {
				case Kind.welcome:
					return welcomed(parseFields(payload));
				case Kind.ping:
					if (payload.length !== 8) throw new ProtocolError(`PING of ${payload.length} bytes`);
					return events.say({ kind: Kind.pong, payload: payload.slice() });
				case Kind.pong:
					return probes[payload[0] as number]?.();
				case Kind.goaway:
					return events.goaway(new Map(parseFields(payload)).get("reason") ?? "");
				default:
					throw new ProtocolError(`${kindName(kind)} is none of the server's`);
			}
		},
		ping(timeoutMs) {
			return new Promise((resolve, reject) => {
				const since = performance.now();
				const before = heardAt;
				const late = setTimeout(() => {
					const reason = `no answer to a ping in ${timeoutMs} ms`;
					reject(new Error(reason));
					// What comes may only be slow, with the answer behind it.
					if (heardAt === before) events.silent(reason);
				}, timeoutMs);
				sendPing();
				probes[pings % 256] = () => {
					clearTimeout(late);
					resolve(performance.now() - since);
				};
			});
		},
		stop: () => clearTimeout(timer),
	};
}

const defaults: Welcome = {
	ticket: undefined,
	node: undefined,
	detach: 60_000,
	ping: 20_000,
	maxCalls: 100,
};

function parseWelcome(fields: readonly Field[], before = defaults): Welcome {
	const value = new Map(fields);
	if ((value.get("version") ?? "1") !== "1") {
		throw new ProtocolError(`version ${value.get("version")}`);
	}
	return {
		ticket: value.get("ticket") ?? before.ticket,
		node: value.get("node") ?? before.node,
		detach: number(value.get("detach")) ?? before.detach,
		ping: Math.max(1000, number(value.get("ping")) ?? before.ping),
		maxCalls: number(value.get("max-calls")) ?? before.maxCalls,
	};
}

/** number reads a decimal number. What is none counts as missing; timers of the platform have 31 bits. */
function number(text: string | undefined): number | undefined {
	return text !== undefined && /^\d{1,15}$/.test(text) ? Math.min(Number(text), 2 ** 31 - 1) : undefined;
}
