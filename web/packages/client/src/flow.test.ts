import assert from "node:assert/strict";
import { test } from "node:test";
import { createReceiver, createSender } from "./flow.js";
import { StatusError } from "./status.js";
import { firstWindow } from "./frames.js";

const text = (n: number, from = 0) => Uint8Array.from({ length: n }, (_, i) => (from + i) % 251);

test("sender: forgets what left", () => {
	const s = createSender(false);
	s.write(text(100));
	assert.equal(s.next(60)?.length, 60);
	assert.equal(s.next(60)?.length, 40);
	assert.deepEqual([s.buffered, s.unsent, s.next(60), s.drained], [0, 0, undefined, true]);
	assert.throws(() => s.credit(101, 10), StatusError);
});

test("sender: keeps until taken, and goes on from where it is told", () => {
	const s = createSender(true);
	for (let at = 0; at < 200_000; at += 1000) s.write(text(1000, at));
	let sent = 0;
	for (let b = s.next(16_384); b; b = s.next(16_384)) sent += b.length;
	assert.equal(sent, firstWindow);
	s.credit(1000, 10); // the limit must not shrink
	assert.equal(s.next(1), undefined);
	s.rewind(1003);
	assert.deepEqual(s.next(4), text(4, 1003));
	assert.throws(() => s.rewind(999), StatusError);
	assert.throws(() => s.rewind(firstWindow + 1), StatusError);
	s.credit(firstWindow, 100);
	assert.equal(s.buffered, 200_000 - 1000, "what is to be sent again is kept");
});

test("receiver: asks for more in time, also with a window larger than the first", () => {
	const small = createReceiver();
	assert.equal(small.receive(firstWindow), true);
	assert.equal(small.receive(1), false);
	assert.deepEqual([small.take(firstWindow / 2 - 1), small.owes, small.take(1)], [false, true, true]);
	assert.deepEqual(small.credit(), { taken: firstWindow / 2, window: firstWindow });
	assert.equal(small.owes, false);
	const large = createReceiver(4 * firstWindow);
	assert.equal(large.receive(10), true);
	assert.equal(large.take(10), true);
	assert.deepEqual(large.credit(), { taken: 10, window: 4 * firstWindow });
	assert.equal(large.receive(4 * firstWindow), true);
});

test("directions: random cuts lose, double and reorder nothing", () => {
	for (let seed = 1; seed <= 100; seed++) {
		const random = randomOf(seed);
		const all = text(200_000, seed);
		const s = createSender(true);
		const r = createReceiver(1 + random(100_000));
		const got: number[] = [];
		let wire: number[] = [];
		let written = 0;
		let untaken = 0;
		while (got.length < all.length) {
			switch (random(6)) {
				case 0: {
					const n = Math.min(random(30_000), all.length - written);
					if (s.buffered < 200_000) {
						s.write(all.subarray(written, written + n));
						written += n;
					}
					break;
				}
				case 1:
					wire.push(...(s.next(1 + random(16_384)) ?? []));
					break;
				case 2:
				case 3: {
					const part = wire.splice(0, random(wire.length + 1));
					assert.equal(r.receive(part.length), true, `seed ${seed}`);
					for (const b of part) got.push(b);
					untaken += part.length;
					break;
				}
				case 4: {
					const n = random(untaken + 1);
					untaken -= n;
					if (r.take(n) || random(4) === 0) {
						const c = r.credit();
						s.credit(c.taken, c.window);
					}
					break;
				}
				default: {
					if (random(4) > 0) break;
					wire = [];
					s.rewind(r.received);
					const c = r.credit();
					s.credit(c.taken, c.window);
				}
			}
		}
		assert.deepEqual(Uint8Array.from(got), all, `seed ${seed}`);
	}
});

/** randomOf makes numbers that are the same each time (mulberry32). */
export function randomOf(seed: number): (below: number) => number {
	let a = seed;
	return (below) => {
		a = (a + 0x6d2b79f5) | 0;
		let t = Math.imul(a ^ (a >>> 15), 1 | a);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) % below;
	};
}
