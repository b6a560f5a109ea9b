// What carries calls: the interface between the carriers and the rest. A carrier knows bytes, and nothing of frames.

import type { Calls, Shell } from "./link.js";

/** Bytes can be given to the APIs of the platform. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** PipeEvents are what a pipe tells. */
export interface PipeEvents {
	/** Bytes that came. They may be kept. */
	data(b: Uint8Array): void;
	/** The peer has ended its side, or the pipe is lost: once, last. The reason is for people. */
	closed(reason: string): void;
}

/** A Pipe is an ordered stream of bytes both ways. */
export interface Pipe {
	/**
	 * write sends bytes, and resolves when more may be written: one write at a time. It rejects when the pipe is lost; the
	 * events say so too.
	 */
	write(b: Bytes): Promise<void>;
	/** end ends our side, after everything was written. */
	end(): void;
	/** abort gives the pipe up, because its call is cancelled or goes on elsewhere. */
	abort(why: "cancel" | "elsewhere"): void;
}

/** How a connection ends: with its calls, or so that they go on elsewhere. */
export type Ending = "leave" | "cut";

/** Datagrams are messages that may be lost. */
export interface Datagrams {
	/** How long one may be. */
	readonly maxBytes: number;
	/** send sends one, or drops it where too many wait. */
	send(b: Bytes): void;
}

/** A Connection is one connection of a carrier. */
export interface Connection {
	/** The pipe of all calls, in the multiplexed form. */
	readonly pipe?: Pipe;
	/** open opens the pipe of a call, in the call form. It rejects if there can be no more of them now. */
	open?(events: PipeEvents): Promise<Pipe>;
	/** datagrams has bytes of datagrams told from now on. It is called once, when the first call wants them. */
	datagrams?(received: (b: Uint8Array) => void): Datagrams;
	/** close ends the connection, without an event. */
	close(how: Ending, reason?: string): void;
}

/** A Carrier opens connections: createWebSocket and the like return one. */
export interface Carrier {
	/** As "websocket", for people. */
	readonly name: string;
	/** The calls on a connection of it, in one of the forms: createMultiplexed or createStreams. */
	readonly calls: (shell: Shell) => Calls;
	/** connectMs is how long connect may take until WELCOME has come. */
	readonly connectMs: number;
	/** eager says that it is tried beside the first one of several, and not only when that one takes long or has failed. */
	readonly eager?: boolean;
	/** Whether its connections have datagrams. */
	readonly datagrams?: boolean;
	/**
	 * connect opens a connection to an endpoint, whose URL is of http or https. The events are of the one pipe in the multiplexed
	 * form, and of the pipe that only the server writes in the call form.
	 */
	connect(endpoint: URL, events: PipeEvents, signal: AbortSignal): Promise<Connection>;
}
