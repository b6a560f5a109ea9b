// Writing frames to a pipe, in batches, as fast as it takes them.

import type { Bytes, Pipe } from "./carrier.js";
import { type Form, type Frame, frameLength, maxData, putFrame } from "./frames.js";

/** A Numbered is a frame of a call, or of the connection, which has number 0. */
export type Numbered = readonly [call: number, frame: Frame];

/** A Wire writes what there is to write, each time that it is woken. */
export interface Wire {
	wake(): void;
	/** attach gives it its pipe. */
	attach(pipe: Pipe): void;
	stop(): void;
}

/** batchBytes is how many bytes of frames are written at once. */
const batchBytes = 65_536;

/**
 * createWire writes what next returns until there is nothing, and says each time that all of that was taken. What next throws is
 * told, and final.
 */
export function createWire(
	form: Form,
	next: () => Numbered | undefined,
	failed: (err: unknown) => void,
	written?: () => void,
): Wire {
	let pipe: Pipe | undefined;
	let running = false;
	let scheduled = false;
	let stopped = false;

	const stop = () => {
		stopped = true;
	};

	const batch = (): Bytes | undefined => {
		const frames: Numbered[] = [];
		let length = 0;
		while (length <= batchBytes - maxData) {
			const f = next();
			if (!f) break;
			frames.push(f);
			length += frameLength(form, f[1]);
		}
		if (length === 0) return undefined;
		const b = new Uint8Array(length);
		let at = 0;
		for (const [call, f] of frames) at = putFrame(b, at, form, call, f);
		return b;
	};

	const run = async (to: Pipe) => {
		for (let b = batch(); b; b = batch()) {
			await to.write(b).catch(stop); // the events of the pipe say why
			if (stopped) return;
			written?.();
		}
		written?.();
		running = false;
	};

	const start = () => {
		scheduled = false;
		if (running || stopped || !pipe) return;
		running = true;
		run(pipe).catch(failed);
	};

	return {
		wake() {
			if (scheduled || running || stopped) return;
			scheduled = true;
			queueMicrotask(start); // what is said in one turn leaves in one write
		},
		attach(to) {
			pipe = to;
			start();
		},
		stop,
	};
}
