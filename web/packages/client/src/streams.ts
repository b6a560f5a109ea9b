// Each call on a pipe of its own: the call form.

import type { ClientCall, DatagramOutlet } from "./call.js";
import type { Connection, Datagrams, Pipe } from "./carrier.js";
import { createDatagramOutlet, decodeDatagram, isTaken } from "./datagrams.js";
import { encodeFields } from "./fields.js";
import { createDecoder, type Frame, Kind, kindName, ProtocolError } from "./frames.js";
import type { Calls, Shell } from "./link.js";
import { messageOf } from "./message-of.js";
import { createWire, type Numbered, type Wire } from "./wire.js";

/** At the limit of streams a browser refuses to open another one: so often it is asked, after a pause that doubles. */
const openTries = 8;
const openPauseMs = 20;

/** A Stream is a call with its pipe. */
interface Stream {
	/** For people, and for datagrams. */
	readonly number: number;
	readonly call: ClientCall;
	/** The call was cancelled before it had this pipe, which is there to say so. */
	late: boolean;
	readonly wire: Wire;
	pipe?: Pipe;
}

/** createStreams makes the calls of a link whose connection opens a pipe for each. */
export function createStreams(shell: Shell): Calls {
	const streams = new Set<Stream>();
	const control: Frame[] = [];
	const hello: Frame = { kind: Kind.hello, payload: encodeFields(shell.hello) };
	let connection: (Required<Pick<Connection, "open">> & Pick<Connection, "datagrams">) | undefined;
	let datagrams: Datagrams | undefined;
	let stopped = false;
	let last = 0;

	const remove = (s: Stream) => {
		s.wire.stop();
		if (streams.delete(s)) shell.events.released();
	};

	/** finish ends the pipe of a call that is over, once everything has left. */
	const finish = (s: Stream) => {
		if (!s.call.over || !streams.has(s)) return;
		if (s.call.cancelled && !s.late) s.pipe?.abort("cancel");
		else s.pipe?.end();
		remove(s);
	};

	const wake = (s: Stream) => {
		if (!streams.has(s)) return;
		if (s.call.cancelled && !s.pipe) s.late = true;
		if (s.call.cancelled && !s.late) {
			// Not by a frame: it would wait behind what the pipe has not taken.
			s.pipe?.abort("cancel");
			remove(s);
		} else if (s.call.over && !s.pipe) {
			remove(s); // the server has never heard of it
		} else {
			s.wire.wake();
		}
	};

	const open = async (s: Stream, from: Required<Pick<Connection, "open">>) => {
		const decoder = createDecoder("call", (_, frame) => {
			if (frame.kind >= Kind.hello) throw new ProtocolError(`${kindName(frame.kind)} on the pipe of a call`);
			shell.trace("down", s.number, frame);
			if (!streams.has(s)) return;
			s.call.receive(frame);
			if (s.call.over) s.wire.wake();
		});
		const events = {
			data: (b: Uint8Array) => shell.hear(decoder.feed, b),
			closed(reason: string) {
				if (stopped || !streams.has(s)) return;
				if (s.call.over) return finish(s);
				s.wire.stop();
				streams.delete(s);
				shell.events.detached(s.call, reason);
			},
		};
		for (let pause = openPauseMs, tries = 1; streams.has(s); pause *= 2, tries++) {
			try {
				const pipe = await from.open(events);
				if (!streams.has(s)) return pipe.abort("elsewhere");
				s.pipe = pipe;
				return s.wire.attach(pipe);
			} catch (err) {
				if (tries === openTries && streams.has(s)) {
					streams.delete(s);
					shell.events.detached(s.call, `there is no stream for the call: ${messageOf(err)}`);
				}
			}
			await new Promise((resolve) => setTimeout(resolve, pause));
		}
	};

	/** The pipe on which we speak of the connection. There is none until there is something to say. */
	let own: Wire | undefined;
	const openOwn = (from: Required<Pick<Connection, "open">>) => {
		if (control[0]?.kind !== Kind.ping) control.unshift(hello);
		const next = (): Numbered | undefined => {
			const frame = control.shift();
			if (frame) shell.trace("up", 0, frame);
			return frame && [0, frame];
		};
		const wire = createWire("call", next, shell.failed);
		const decoder = createDecoder("call", (_, frame) => shell.receive(frame));
		const closed = () => {
			wire.stop();
			own = undefined; // the next frame opens another one
		};
		own = wire;
		from.open({ data: (b) => shell.hear(decoder.feed, b), closed }).then((pipe) => wire.attach(pipe), closed);
	};

	const decoder = createDecoder("call", (_, frame) => shell.receive(frame));

	const outletOf = (s: Stream, from: Pick<Connection, "datagrams">): DatagramOutlet | undefined => {
		const { lossy } = s.call;
		if (!lossy) return undefined;
		datagrams ??= from.datagrams?.((b) => {
			const datagram = decodeDatagram(b);
			for (const { number, call } of datagram ? streams : []) {
				if (number !== datagram?.number || !call.lossy) continue;
				if (isTaken(call.lossy, datagram.sequence)) call.datagram(datagram.message);
			}
		});
		return datagrams && createDatagramOutlet(lossy, s.number, datagrams);
	};

	return {
		get size() {
			return streams.size;
		},
		connected({ open, datagrams }) {
			if (!open) throw new TypeError("a carrier of the call form opens pipes");
			connection = datagrams ? { open, datagrams } : { open };
			if (control.length > 0) openOwn(connection);
		},
		data: decoder.feed,
		say(frame) {
			control.push(frame);
			if (own) own.wake();
			else if (connection) openOwn(connection);
		},
		attach(call) {
			const from = connection;
			if (!from) throw new TypeError("the link is not open");
			const next = (): Numbered | undefined => {
				const frame = call.next();
				if (frame) shell.trace("up", s.number, frame);
				return frame && [0, frame];
			};
			const wire = createWire("call", next, shell.failed, () => finish(s));
			const s: Stream = { number: ++last, call, late: call.cancelled, wire };
			streams.add(s);
			// There is no order between pipes: what HELLO would say is said by each call.
			const outlet = { wake: () => wake(s), owe: () => shell.owe(call), datagrams: outletOf(s, from) };
			call.attach(shell.ticket, outlet, shell.hello);
			void open(s, from);
		},
		take(which) {
			const taken = [...streams].filter((s) => which(s.call));
			for (const s of taken) {
				s.wire.stop();
				s.pipe?.abort("elsewhere");
				streams.delete(s);
			}
			return taken.map((s) => s.call);
		},
		stop() {
			stopped = true;
			own?.stop();
		},
	};
}
