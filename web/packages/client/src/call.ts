// A call of docs/protocols/duplex.md, the client's half: what it sends on a pipe, what it makes of what comes, and how
// it goes on after its pipe was lost. No I/O and no clock: a link asks it for frames and gives it those that come.

import type { Lossy } from "./datagrams.js";
import { encodeFields, type Field, parseFields } from "./fields.js";
import { createReceiver, createSender } from "./flow.js";
import {
	decodeCredit,
	encodeCredit,
	type Frame,
	Kind,
	kindName,
	type Mark,
	maxData,
	maxFrame,
	ProtocolError,
} from "./frames.js";
import { messageOf } from "./message-of.js";
import { createScanner, prefixLength } from "./messages.js";
import { Code, type Status, StatusError, statusOf, statusOfFields } from "./status.js";

/** CallEvents are what a call tells its application. */
export interface CallEvents {
	/** The initial metadata, at most once. */
	headers(fields: readonly Field[]): void;
	/** Bytes of messages, which the application has to take. They are valid during the event only. */
	data(b: Uint8Array): void;
	/** A message that came in a datagram, which the application has to take. It is valid during the event only. */
	datagram(message: Uint8Array): void;
	/** The end, exactly once, last. */
	end(status: Status): void;
	/** Something that was written has left. */
	room(): void;
}

/** CallOptions say what is called. */
export interface CallOptions {
	/** As /pkg.Service/Method. */
	readonly path: string;
	/** content-type, grpc-timeout and the like, and metadata. */
	readonly fields: readonly Field[];
	/** The name of a call that is to be resumed: 32 hexadecimal digits. */
	readonly id?: string | undefined;
	/** How many bytes may be under way to us. */
	readonly window?: number | undefined;
	/** Whether messages may be lost, and whether those that come late are delivered. */
	readonly datagrams?: boolean | "late" | undefined;
}

/** An Outlet is how a call tells its link that there is something to send. */
export interface Outlet {
	/** Ask next. */
	wake(): void;
	/** Call settle in a while. */
	owe(): void;
	/** The datagrams of the connection, if it has any. */
	readonly datagrams?: DatagramOutlet | undefined;
}

/** A DatagramOutlet is what a call needs of a connection with datagrams. */
export interface DatagramOutlet {
	/** Which no other call of the connection has. */
	readonly number: number;
	/** offer sends what is one small message, and says whether it was. */
	offer(b: Uint8Array): boolean;
}

/** A ClientCall is the state of a call. */
export interface ClientCall {
	/** write sends bytes of messages, which must not change afterwards. */
	write(b: Uint8Array): void;
	/** closeSend half-closes. */
	closeSend(): void;
	/** take says that so many bytes of data are out of our hands. */
	take(n: number): void;
	/** takeDatagram says the same of what came in datagrams. */
	takeDatagram(n: number): void;
	/** cancel ends the call with a status of ours. */
	cancel(status: Status): void;

	/** attach gives the call a pipe. The fields are those that the pipe has not said in HELLO. */
	attach(ticket: string | undefined, outlet: Outlet, fields?: readonly Field[]): void;
	/** detach takes the pipe away, and says whether the call waits for another one. Else it has ended. */
	detach(why: string): boolean;
	/** receive takes a frame of the call. What it throws ends the pipe. */
	receive(frame: Frame): void;
	/** datagram takes a message that came in a datagram, or drops it. */
	datagram(message: Uint8Array): void;
	/** next returns a frame to send now. */
	next(): Frame | undefined;
	/** settle sends a CREDIT for what was taken. */
	settle(): void;
	/** hear has the call go on as if something of it had come back: HEADERS are not sent again. */
	hear(): void;

	/** over says whether the pipe is not needed any more: the call has ended and the server knows. */
	readonly over: boolean;
	/** cancelled says whether it was ended by cancel. */
	readonly cancelled: boolean;
	/** What there is of datagrams if messages may be lost, wherever the call is. */
	readonly lossy: Lossy | undefined;
	/** begun says whether the server may know the call. */
	readonly begun: boolean;
	/** movable says whether it can go on elsewhere. */
	readonly movable: boolean;
	/** unsent is how many bytes wait to be sent for the first time. */
	readonly unsent: number;
}

/** What the first frame on a pipe is: HEADERS, HEADERS again, RESUME. */
type Opening = "fresh" | "again" | "resume";

/** createCall makes the state of a call. */
export function createCall(options: CallOptions, events: CallEvents): ClientCall {
	const { path, fields } = options;
	let id = options.id;
	const sender = createSender(id !== undefined);
	const receiver = createReceiver(options.window);
	const scanner = createScanner();
	let ticket: string | undefined;
	let epoch = 0;
	let begun = false; // HEADERS may have left
	let heard = false; // something came back, or may have
	let got: Mark = 0;
	let closed = false; // half-closed by the application
	let ended = false;
	let cancelled = false;
	let over = false;

	// Messages that may be lost.
	const lossy = options.datagrams ? { late: options.datagrams === "late", sequence: 0 } : undefined;
	const written = createScanner();
	let waiting = 0; // bytes of datagrams that were not taken
	let agreed = false;
	let settled = false; // RESUMED has said whether there are any, and HEADERS do not count

	// Of the pipe that the call is on.
	let outlet: Outlet | undefined;
	let told: readonly Field[] = []; // metadata that the opening says
	let opening: Opening = "fresh";
	let opened = false;
	let live = false; // may send more than the opening
	let credit = false; // CREDIT is due
	let endSent = false;

	const wake = () => outlet?.wake();

	const end = (status: Status) => {
		if (ended) return;
		ended = true;
		sender.free();
		events.end(status);
	};

	const cancel = (status: Status) => {
		if (ended) return;
		cancelled = true;
		over = !begun;
		end(status);
		wake();
	};

	const open = (): Frame => {
		opened = true;
		epoch++;
		const list: Field[] = [];
		const resuming = opening === "resume";
		if (resuming) list.push([":got", `${got}`], [":received", `${receiver.received}`]);
		else {
			live = begun = true;
			list.push([":path", path]);
		}
		if (id !== undefined) list.push([":call", id]);
		if (opening !== "fresh") list.push([":ticket", ticket ?? ""], [":epoch", `${epoch}`]);
		// A call that began without could have none later.
		if (lossy) list.push([":datagrams", `${outlet?.datagrams?.number ?? 1}`]);
		if (lossy?.late) list.push([":datagrams-late", "deliver"]);
		const payload = encodeFields([...list, ...told]);
		if (payload.length > maxFrame) throw new TypeError("the metadata is too long");
		return { kind: resuming ? Kind.resume : Kind.headers, payload };
	};

	const resumed = (list: Field[]) => {
		if (opening === "fresh" || (opening === "resume" && live)) throw new ProtocolError("malformed RESUMED"); // it was not asked for
		const value = new Map(list);
		const state = value.get(":state");
		if (state === "gone") {
			over = true;
			return end(gone(list));
		}
		const peerGot = value.get(":got") ?? "";
		const received = value.get(":received") ?? "";
		if (!/^(live|ended)$/.test(state ?? "") || !/^[0-2]$/.test(peerGot) || !/^\d{1,15}$/.test(received))
			throw new ProtocolError("malformed RESUMED");
		live = true;
		credit = true;
		settled = true;
		agreed = value.get(":datagrams") === "1";
		if (state === "ended" || peerGot === "2") {
			endSent = true; // nothing more is wanted
			sender.free();
			events.room();
		} else if (opening === "resume") {
			// After HEADERS again DATA goes on as it was begun, from the start: the server drops what it has.
			sender.rewind(Number(received));
		}
		wake();
	};

	const data = (b: Uint8Array) => {
		if (!receiver.receive(b.length)) {
			return cancel(statusOf(Code.resourceExhausted, "the server sent more than it may"));
		}
		scanner.scan(b);
		events.data(b);
	};

	const finish = (list: Field[]) => {
		got = 2;
		let status = statusOfFields(list);
		if (status.code === Code.ok && scanner.inside) {
			status = statusOf(Code.internal, "the call ended inside of a message", status.trailers);
		}
		if (id === undefined) over = true;
		else credit = true; // the server keeps its END until then
		end(status);
		wake();
	};

	const receive = ({ kind, payload }: Frame) => {
		if (over || !opened) return;
		if (!live && kind !== Kind.resumed) throw new ProtocolError(`${kindName(kind)} before RESUMED`);
		heard = true;
		if (cancelled || got === 2) return; // it was on its way
		switch (kind) {
			case Kind.headers: {
				if (got > 0) throw new ProtocolError("HEADERS twice");
				got = 1;
				const list = parseFields(payload);
				if (!settled) agreed = list.some(([name, value]) => name === ":datagrams" && value === "1");
				return events.headers(list);
			}
			case Kind.data:
				return data(payload);
			case Kind.end:
				return finish(parseFields(payload));
			case Kind.credit: {
				const { taken, window } = decodeCredit(payload);
				sender.credit(taken, window);
				events.room();
				return wake();
			}
			case Kind.resumed:
				return resumed(parseFields(payload));
			default:
				throw new ProtocolError(`${kindName(kind)} is none of the server's`);
		}
	};

	const next = (): Frame | undefined => {
		if (!outlet || over) return undefined;
		if (!opened) {
			if (cancelled) opening = "resume"; // a server that has not seen the call must not begin it now
			try {
				return open();
			} catch (err) {
				cancel(statusOf(Code.internal, messageOf(err)));
				over = true; // nothing has left
				return undefined;
			}
		}
		if (cancelled) {
			over = true;
			return { kind: Kind.cancel, payload: none };
		}
		if (!live) return undefined;
		if (credit) {
			credit = false;
			over = got === 2;
			return { kind: Kind.credit, payload: encodeCredit({ ...receiver.credit(), got }) };
		}
		const b = sender.next(maxData);
		if (b) {
			events.room();
			return { kind: Kind.data, payload: b };
		}
		if (closed && !endSent && sender.drained) {
			endSent = true;
			return { kind: Kind.end, payload: none };
		}
		return undefined;
	};

	return {
		write(b) {
			if (closed) throw new TypeError("the call is half-closed");
			if (ended || (agreed && !written.inside && outlet?.datagrams?.offer(b))) return;
			if (lossy) written.scan(b);
			sender.write(b);
			wake();
		},
		closeSend() {
			if (closed) return;
			closed = true;
			wake();
		},
		take(n) {
			if (ended || n === 0) return;
			if (receiver.take(n)) {
				credit = true;
				wake();
			} else if (id !== undefined) {
				outlet?.owe();
			}
		},
		takeDatagram(n) {
			waiting -= n;
		},
		cancel,
		attach(newTicket, newOutlet, newFields = []) {
			if (!begun) {
				ticket = newTicket;
				if (ticket === undefined) id = undefined; // this server resumes nothing
			}
			outlet = newOutlet;
			told = [...fields, ...newFields.filter(([name]) => !fields.some(([own]) => own === name))];
			opening = !begun ? "fresh" : heard || cancelled ? "resume" : "again";
			opened = live = credit = endSent = agreed = settled = false;
			if (opening === "again") sender.rewind(0);
			wake();
		},
		detach(why) {
			outlet = undefined;
			agreed = false;
			if (over) return false;
			if (!begun) return true;
			if (id !== undefined && got < 2) return true;
			over = true;
			end(statusOf(Code.unavailable, why));
			return false;
		},
		receive(frame) {
			try {
				receive(frame);
			} catch (err) {
				if (!(err instanceof StatusError)) throw err;
				cancel(err.status);
			}
		},
		datagram(message) {
			if (!agreed || ended || scanner.inside || waiting + message.length > maxWaiting) return;
			waiting += message.length + prefixLength;
			events.datagram(message);
		},
		next,
		settle() {
			if (!receiver.owes) return;
			credit = true;
			wake();
		},
		hear() {
			heard = true;
		},
		get over() {
			return over;
		},
		get cancelled() {
			return cancelled;
		},
		lossy,
		get begun() {
			return begun;
		},
		get movable() {
			return !over && (id !== undefined || !begun);
		},
		get unsent() {
			return sender.unsent;
		},
	};
}

const none = new Uint8Array(0);

/** So many bytes of datagrams wait for the application. More are dropped. */
const maxWaiting = 65_536;

/** gone returns the status of a call that can't be resumed. */
function gone(list: readonly Field[]): Status {
	const value = new Map(list);
	const reason = value.get(":reason") ?? "unknown";
	if (value.has("grpc-status")) {
		const status = statusOfFields(list);
		return status.message ? status : { ...status, message: `the call can't be resumed: ${reason}` };
	}
	return statusOf(Code.unavailable, `the call can't be resumed: ${reason}`);
}

/** createCallId returns a name for a call that no other has. */
export function createCallId(): string {
	return hexadecimal(crypto.getRandomValues(new Uint8Array(16)));
}

/** hexadecimal writes two digits for each byte. */
export function hexadecimal(b: Uint8Array): string {
	return Array.from(b, (n) => n.toString(16).padStart(2, "0")).join("");
}
