// A call as bytes: gRPC's messages with their prefixes, as an application, or a library that knows them, wants them.

import { type CallOptions, type ClientCall, createCall } from "./call.js";
import { headersOf } from "./fields.js";
import { encodeMessage } from "./messages.js";
import { Code, type Status, StatusError, statusOf } from "./status.js";

/**
 * A ByteCall is a call whose directions are bytes: messages with gRPC's prefix, cut anywhere. Connect-ES and others bring
 * their own messages, and need no more than this.
 */
export interface ByteCall {
	/**
	 * write sends bytes, which must not change afterwards. It resolves when there is room for more, and rejects with a
	 * StatusError if the call has ended.
	 */
	write(b: Uint8Array): Promise<void>;
	/** closeSend half-closes: nothing more will be written. */
	closeSend(): void;
	/** cancel ends the call with CANCELLED. A call that has ended is left as it is. */
	cancel(message?: string): void;
	/** The initial metadata, when it comes. It is empty if the call ends without any; it never rejects. */
	readonly headers: Promise<Headers>;
	/** What comes from the server. It throws a StatusError at its end unless the status is OK. Leaving a loop early cancels. */
	readonly bytes: AsyncIterable<Uint8Array>;
	/** How the call ended. It never rejects. */
	readonly status: Promise<Status>;
}

/** ByteCallOptions say how much a call keeps. */
export interface ByteCallOptions extends CallOptions {
	/** How many bytes that have not left a call takes before write waits. */
	readonly sendBuffer: number;
	/** After how long the call is cancelled if nobody takes what has come. */
	readonly unreadMs?: number | undefined;
	/** Called once at the end. */
	readonly ended: () => void;
}

/** A Pull is the receiving side without promises for each piece. */
export interface Pull {
	/** pull takes what has come, or returns undefined. */
	pull(): Uint8Array | undefined;
	/** wait resolves when there is something to pull, and says false at the end. It rejects if the status is not OK. */
	wait(): Promise<boolean>;
	/** fail ends the call with a status. */
	fail(status: Status): void;
}

/** createByteCall makes a call, which the caller has to attach to a link. */
export function createByteCall(options: ByteCallOptions): { call: ByteCall; pull: Pull; machine: ClientCall } {
	const headers = deferred<Headers>();
	const status = deferred<Status>();
	const queue: Uint8Array[] = [];
	let at = 0; // of queue
	let end: Status | undefined;
	const writers: (() => void)[] = [];
	let reader: (() => void) | undefined;
	const apart = new WeakSet<Uint8Array>(); // what came in datagrams
	let unread: ReturnType<typeof setTimeout> | undefined;

	/** watch looks whether somebody takes what has come. */
	const watch = () => {
		clearTimeout(unread);
		const { unreadMs } = options;
		const wait = !end && at < queue.length && unreadMs;
		const late = () => machine.cancel(statusOf(Code.cancelled, `nobody has taken what has come for ${unreadMs} ms`));
		unread = wait ? setTimeout(late, Math.min(unreadMs, 2 ** 31 - 1)) : undefined;
	};

	const machine = createCall(options, {
		headers: (fields) => headers.resolve(headersOf(fields)),
		data(b) {
			// A small part of a large piece must not keep all of it.
			queue.push(b.length * 2 < b.buffer.byteLength ? b.slice() : b);
			if (!unread) watch();
			reader?.();
		},
		datagram(message) {
			const b = encodeMessage(message);
			apart.add(b);
			queue.push(b);
			if (!unread) watch();
			reader?.();
		},
		end(s) {
			end = s;
			watch();
			headers.resolve(new Headers());
			status.resolve(s);
			for (const w of writers.splice(0)) w();
			reader?.();
			options.ended();
		},
		room() {
			if (writers.length === 0 || machine.unsent > options.sendBuffer) return;
			for (const w of writers.splice(0)) w();
		},
	});

	const refuse = (s: Status) =>
		new StatusError(s.code === Code.ok ? statusOf(Code.cancelled, "the server has ended the call", s.trailers) : s);

	const pull: Pull = {
		pull() {
			const b = queue[at];
			if (!b) return undefined;
			at++;
			if (at === queue.length) {
				queue.length = 0;
				at = 0;
			} else if (at === 1024) {
				queue.splice(0, at);
				at = 0;
			}
			watch();
			if (apart.has(b)) machine.takeDatagram(b.length);
			else machine.take(b.length);
			return b;
		},
		async wait() {
			while (at === queue.length && !end) {
				await new Promise<void>((resolve) => {
					reader = resolve;
				});
			}
			if (at < queue.length) return true;
			if (end && end.code !== Code.ok) throw new StatusError(end);
			return false;
		},
		fail: machine.cancel,
	};

	const cancel = (message = "cancelled by the client") => machine.cancel(statusOf(Code.cancelled, message));

	const call: ByteCall = {
		async write(b) {
			if (end) throw refuse(end);
			machine.write(b);
			while (!end && machine.unsent > options.sendBuffer) await new Promise<void>((resolve) => writers.push(resolve));
			if (end) throw refuse(end);
		},
		closeSend: machine.closeSend,
		cancel,
		headers: headers.promise,
		status: status.promise,
		bytes: iterate(async () => {
			while (await pull.wait()) {
				const b = pull.pull();
				if (b) return b;
			}
			return undefined;
		}, cancel),
	};
	return { call, pull, machine };
}

/** iterate makes an iterable of what next returns until undefined. Leaving a loop early cancels the call. */
export function iterate<T>(next: () => Promise<T | undefined>, cancel: (message: string) => void): AsyncIterable<T> {
	let done = false;
	let last: Promise<unknown> = Promise.resolve();
	const step = async (): Promise<IteratorResult<T>> => {
		const value = done ? undefined : await next();
		if (value !== undefined) return { done: false, value };
		done = true;
		return { done: true, value: undefined };
	};
	const iterator: AsyncIterator<T> = {
		next: () => (last = last.then(step, step)), // one after the other, also for who does not wait
		async return() {
			done = true;
			cancel("the client has stopped reading");
			return { done: true, value: undefined };
		},
	};
	return { [Symbol.asyncIterator]: () => iterator };
}

interface Deferred<T> {
	readonly promise: Promise<T>;
	resolve(value: T): void;
}

function deferred<T>(): Deferred<T> {
	let resolve: (value: T) => void = () => {};
	const promise = new Promise<T>((r) => {
		resolve = r;
	});
	return { promise, resolve };
}
