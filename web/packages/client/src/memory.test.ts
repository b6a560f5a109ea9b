import assert from "node:assert/strict";
import { test } from "node:test";
import { createMemory, rememberedMs } from "./memory.js";

function storage() {
	const items = new Map<string, string>();
	return {
		items,
		getItem: (key: string) => items.get(key) ?? null,
		setItem: (key: string, value: string) => void items.set(key, value),
	};
}

test("a carrier is remembered for each gateway, and for a while", () => {
	const kept = storage();
	let now = 5_000_000;
	const clock = () => now;
	createMemory("https://a.example", kept, clock).remember("websocket");
	assert.equal(createMemory("https://a.example", kept, clock).carrier, "websocket");
	assert.equal(createMemory("https://b.example", kept, clock).carrier, undefined);
	now += rememberedMs;
	assert.equal(createMemory("https://a.example", kept, clock).carrier, undefined);
	now -= 2 * rememberedMs;
	assert.equal(createMemory("https://a.example", kept, clock).carrier, undefined, "the clock was set back");
});

test("a storage that is full, forbidden, not there, or of somebody else", () => {
	const refuse = () => {
		throw new Error("QuotaExceededError");
	};
	for (const broken of [{ getItem: refuse, setItem: refuse }, undefined]) {
		const memory = createMemory("https://a.example", broken);
		memory.remember("websocket");
		assert.equal(memory.carrier, undefined);
	}
	const other = storage();
	for (const value of ["{", "null", "7", '{"carrier":7,"until":1e300}']) {
		other.items.set("sluice https://a.example", value);
		assert.equal(createMemory("https://a.example", other).carrier, undefined);
	}
});
