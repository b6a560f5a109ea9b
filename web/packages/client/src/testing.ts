// A server for unit tests: the server's half of docs/protocols/duplex.md in memory, with a carrier that leads to it.
// It echoes the bytes of a call, and checks what clients may do.

import type { Carrier, Ending, PipeEvents } from "./carrier.js";
import { encodeFields, type Field, parseFields } from "./fields.js";
import { createReceiver, createSender } from "./flow.js";
import {
	createDecoder,
	decodeCredit,
	encodeCredit,
	encodeFrame,
	type Form,
	type Frame,
	Kind,
	type Mark,
	maxData,
} from "./frames.js";
import { createMultiplexed } from "./multiplexed.js";
import { createStreams } from "./streams.js";

/** latencyMs is how long bytes are under way. */
export const latencyMs = 1;

/** ServedCall is a call that the server has seen. */
export interface ServedCall {
	readonly fields: Map<string, string>;
	/** What came up, in order. */
	readonly received: Uint8Array[];
	receivedBytes: number;
	/** Writes down. */
	write(b: Uint8Array): void;
	headers(fields: Field[]): void;
	end(fields: Field[]): void;
	cancelled: boolean;
	ended: boolean;
	acknowledged: boolean;
	halfClosed: boolean;
	/** How often it was attached to a pipe. */
	epoch: number;
	/** take gives credit for what was received. */
	take(n: number): void;
	/** Pipes that are not the call's any more. */
	abandon(): void;
}

export interface TestServer {
	readonly calls: ServedCall[];
	/** Frames as they came, as "HEADERS 1". */
	readonly log: string[];
	/** carrier leads to the server. */
	carrier(form: Form, name?: string): Carrier;
	/** refuse makes the next connections fail. */
	refuse: number;
	/** cut breaks all connections, as a network would. */
	cut(): void;
	goaway(): void;
	/** mute makes the server deaf and dumb. */
	mute: boolean;
	/** Whether pings are answered. */
	pongs: boolean;
	readonly connections: number;
	readonly closed: string[];
	hello: Map<string, string>[];
	welcome: Field[];
}

/** onCall says what a call does. Without take, everything that comes is taken at once. */
export interface Service {
	begin?(call: ServedCall): void;
	data?(call: ServedCall, b: Uint8Array): void;
	halfClosed?(call: ServedCall): void;
	room?(call: ServedCall): void;
}

interface Place {
	send(frame: Frame): void;
}

export function createTestServer(service: Service): TestServer {
	const byId = new Map<string, ReturnType<typeof serve>>();
	const links = new Set<{ cut(reason: string): void; say(frame: Frame): void }>();
	let pipes = 0;

	const serve = (fields: Map<string, string>) => {
		const sender = createSender(true);
		const receiver = createReceiver();
		let place: Place | undefined;
		let placeId = 0;
		let got: Mark = 0;
		let peerGot: Mark = 0;
		let head: Field[] | undefined;
		let headSent = false;
		let tail: Field[] | undefined;
		let tailSent = false;
		let skip = 0;

		const flush = () => {
			if (!place) return;
			if (head && !headSent) {
				headSent = true;
				place.send({ kind: Kind.headers, payload: encodeFields(head) });
			}
			for (let b = sender.next(maxData); b; b = sender.next(maxData)) place.send({ kind: Kind.data, payload: b });
			if (tail && sender.drained && !tailSent) {
				tailSent = true;
				place.send({ kind: Kind.end, payload: encodeFields(tail) });
			}
			if (sender.unsent < 65_536) service.room?.(call);
		};
		const sendCredit = () => place?.send({ kind: Kind.credit, payload: encodeCredit({ ...receiver.credit(), got }) });

		const call: ServedCall & {
			attach(id: number, to: Place, opening: "fresh" | "resume" | "again", list: Map<string, string>): void;
			frame(id: number, f: Frame): void;
			detach(id: number): void;
		} = {
			fields,
			received: [],
			receivedBytes: 0,
			cancelled: false,
			ended: false,
			acknowledged: false,
			halfClosed: false,
			epoch: 0,
			write(b) {
				sender.write(b);
				flush();
			},
			headers(list) {
				head = list;
				flush();
			},
			end(list) {
				tail = list;
				call.ended = true;
				flush();
			},
			take(n) {
				if (receiver.take(n)) sendCredit();
			},
			abandon() {
				place = undefined;
			},
			attach(id, to, opening, list) {
				const epoch = Number(list.get(":epoch") ?? "1");
				if (epoch <= call.epoch) {
					to.send({
						kind: Kind.resumed,
						payload: encodeFields([
							[":state", "gone"],
							[":reason", "outdated"],
							["grpc-status", "10"],
						]),
					});
					return;
				}
				call.epoch = epoch;
				place = to;
				placeId = id;
				if (opening === "fresh") {
					service.begin?.(call);
					return flush();
				}
				to.send({
					kind: Kind.resumed,
					payload: encodeFields([
						[":state", call.ended ? "ended" : "live"],
						[":got", call.halfClosed ? "2" : "1"],
						[":received", `${receiver.received}`],
					]),
				});
				sendCredit();
				peerGot = Number(list.get(":got") ?? "0") as Mark;
				headSent = peerGot >= 1;
				tailSent = peerGot === 2;
				sender.rewind(Number(list.get(":received") ?? "0"));
				skip = opening === "again" ? receiver.received : 0;
				flush();
			},
			detach(id) {
				if (placeId === id) place = undefined;
			},
			frame(id, { kind, payload }) {
				if (placeId !== id || !place || call.cancelled) return;
				switch (kind) {
					case Kind.data: {
						const n = Math.min(skip, payload.length);
						skip -= n;
						const b = payload.slice(n);
						if (b.length === 0) return;
						if (call.halfClosed) throw new Error("DATA after END");
						if (!receiver.receive(b.length)) throw new Error("more DATA than credit");
						got = 1;
						call.received.push(b);
						call.receivedBytes += b.length;
						if (service.data) service.data(call, b);
						else call.take(b.length);
						return;
					}
					case Kind.end:
						if (call.halfClosed) throw new Error("END twice");
						call.halfClosed = true;
						service.halfClosed?.(call);
						return;
					case Kind.credit: {
						const c = decodeCredit(payload);
						sender.credit(c.taken, c.window);
						if (c.got === 2) call.acknowledged = true;
						return flush();
					}
					case Kind.cancel:
						call.cancelled = true;
						return;
					default:
						throw new Error(`unexpected kind ${kind}`);
				}
			},
		};
		return call;
	};

	const begin = (id: number, to: Place, frame: Frame) => {
		const list = new Map(parseFields(frame.payload));
		const name = list.get(":call");
		const known = name === undefined ? undefined : byId.get(name);
		if (frame.kind === Kind.resume) {
			if (!known) {
				to.send({
					kind: Kind.resumed,
					payload: encodeFields([
						[":state", "gone"],
						[":reason", "unknown"],
					]),
				});
				return undefined;
			}
			known.attach(id, to, "resume", list);
			return known;
		}
		if (known) {
			known.attach(id, to, "again", list);
			return known;
		}
		const call = serve(list);
		server.calls.push(call);
		if (name !== undefined) byId.set(name, call);
		call.attach(id, to, "fresh", list);
		return call;
	};

	/** later keeps the order of what is under way. */
	const channel = (deliver: (b: Uint8Array) => void) => {
		let open = true;
		return {
			send(b: Uint8Array) {
				setTimeout(() => open && !server.mute && deliver(b), latencyMs);
			},
			close() {
				open = false;
			},
		};
	};

	const pipe = (form: Form, events: PipeEvents, own: boolean) => {
		const calls = new Map<number, { call: ReturnType<typeof serve> | undefined; id: number }>();
		const down = channel((b) => events.data(b));
		const send = (call: number, frame: Frame) => down.send(encodeFrame(form, call, frame));
		let failed = false;
		let ended = false;
		const decoder = createDecoder(form, (n, frame) => {
			server.log.push(
				`${Object.entries(Kind)
					.find(([, k]) => k === frame.kind)?.[0]
					.toUpperCase()} ${n}`,
			);
			if (frame.kind >= Kind.hello) {
				if (frame.kind === Kind.hello) server.hello.push(new Map(parseFields(frame.payload)));
				if (frame.kind === Kind.ping && server.pongs) send(0, { kind: Kind.pong, payload: frame.payload });
				return;
			}
			const place = calls.get(n);
			if (place) return place.call?.frame(place.id, frame);
			const id = ++pipes;
			const entry: { call: ReturnType<typeof serve> | undefined; id: number } = { call: undefined, id };
			calls.set(n, entry);
			entry.call = begin(id, { send: (f) => send(n, f) }, frame);
		});
		const up = channel((b) => {
			if (failed) return;
			try {
				decoder.feed(b);
			} catch (err) {
				failed = true;
				server.log.push(`error ${err}`);
				events.closed(`error ${err}`);
			}
		});
		const drop = () => {
			ended = true;
			up.close();
			down.close();
			for (const { call, id } of calls.values()) call?.detach(id);
		};
		if (own) send(0, { kind: Kind.welcome, payload: encodeFields(server.welcome) });
		return {
			send,
			drop,
			pipe: {
				async write(b: Uint8Array) {
					up.send(b.slice());
				},
				end() {
					ended = true;
				},
				abort(why: "cancel" | "elsewhere") {
					if (ended) return;
					if (why === "cancel") for (const { call } of calls.values()) if (call) call.cancelled = true;
					drop();
				},
			},
		};
	};

	const server: TestServer = {
		calls: [],
		log: [],
		refuse: 0,
		mute: false,
		pongs: true,
		closed: [],
		hello: [],
		welcome: [
			["version", "1"],
			["ticket", "c2VhbGVk"],
			["node", "test"],
		],
		get connections() {
			return links.size;
		},
		carrier: (form, name = "test") => ({
			name,
			calls: form === "multiplexed" ? createMultiplexed : createStreams,
			connectMs: 3000,
			async connect(_endpoint, events) {
				await new Promise((resolve) => setTimeout(resolve, latencyMs));
				if (server.refuse > 0) {
					server.refuse--;
					throw new Error("refused");
				}
				const own = pipe(form, events, true);
				const opened = new Set<ReturnType<typeof pipe>>();
				const drop = () => {
					links.delete(link);
					own.drop();
					for (const p of opened) p.drop();
				};
				const link = {
					cut(reason: string) {
						drop();
						events.closed(reason);
					},
					say: (frame: Frame) => own.send(0, frame),
				};
				links.add(link);
				const close = (how: Ending) => {
					server.closed.push(how);
					for (const p of opened) p.pipe.abort(how === "leave" ? "cancel" : "elsewhere");
					links.delete(link);
					setTimeout(drop, latencyMs); // what was written before it arrives
				};
				if (form === "multiplexed") return { pipe: own.pipe, close };
				const open = async (callEvents: PipeEvents) => {
					const p = pipe("call", callEvents, false);
					opened.add(p);
					return p.pipe;
				};
				return { open, close };
			},
		}),
		cut() {
			for (const link of [...links]) link.cut("the network is gone");
		},
		goaway() {
			for (const link of links) link.say({ kind: Kind.goaway, payload: encodeFields([["reason", "drain"]]) });
		},
	};
	return server;
}
