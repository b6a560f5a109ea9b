// Many calls on one pipe: the multiplexed form.

import type { ClientCall } from "./call.js";
import { encodeFields } from "./fields.js";
import { createDecoder, type Frame, Kind, kindName, ProtocolError } from "./frames.js";
import type { Calls, Shell } from "./link.js";
import type { Pipe } from "./carrier.js";
import { createWire, type Numbered } from "./wire.js";

/** createMultiplexed makes the calls of a link whose connection is one pipe. */
export function createMultiplexed(shell: Shell): Calls {
	const calls = new Map<number, ClientCall>();
	const ready = new Set<number>(); // calls that may have frames, in the order in which they are asked
	const control: Frame[] = [];
	if (shell.hello.length > 0) control.push({ kind: Kind.hello, payload: encodeFields(shell.hello) });
	let last = 0;

	/** sweep forgets calls that are over, once the last that there is to say of them was written. */
	const sweep = () => {
		for (const [n, { over }] of calls) {
			if (!over) continue;
			calls.delete(n);
			ready.delete(n);
			shell.events.released();
		}
	};

	/** next goes round the calls, a frame from each. */
	const next = (): Numbered | undefined => {
		const own = control.shift();
		if (own) {
			shell.trace("up", 0, own);
			return [0, own];
		}
		for (const n of ready) {
			ready.delete(n);
			const frame = calls.get(n)?.next();
			if (!frame) continue;
			ready.add(n);
			shell.trace("up", n, frame);
			return [n, frame];
		}
		return undefined;
	};

	const wire = createWire("multiplexed", next, shell.failed, sweep);

	const decoder = createDecoder("multiplexed", (n, frame) => {
		if (frame.kind >= Kind.hello) return shell.receive(frame);
		shell.trace("down", n, frame);
		if (n > last) throw new ProtocolError(`${kindName(frame.kind)} of call ${n}, which was never begun`);
		const call = calls.get(n);
		call?.receive(frame);
		if (call?.over) wire.wake();
	});

	return {
		get size() {
			return calls.size;
		},
		connected: ({ pipe }) => wire.attach(pipe as Pipe), // which carriers of this form have
		data: decoder.feed,
		say(frame) {
			control.push(frame);
			wire.wake();
		},
		attach(call) {
			const n = ++last;
			calls.set(n, call);
			const wake = () => {
				if (!calls.has(n)) return;
				ready.add(n);
				wire.wake();
			};
			call.attach(shell.ticket, { wake, owe: () => shell.owe(call) });
		},
		take(which) {
			const taken = [...calls].filter(([, call]) => which(call));
			for (const [n] of taken) {
				calls.delete(n);
				ready.delete(n);
			}
			return taken.map(([, call]) => call);
		},
		stop: wire.stop,
	};
}
