import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import "./auto.js"; // so that it does not take time when it is wanted
import type { SessionEvents } from "./events.js";
import type { Field } from "./fields.js";
import { randomOf } from "./flow.test.js";
import type { Form } from "./frames.js";
import { encodeMessage } from "./messages.js";
import { type CallInit, connect, type Session, type SessionOptions } from "./session.js";
import { Code, type Status, StatusError } from "./status.js";
import { createTestServer, type Service, type TestServer } from "./testing.js";

const turn = setImmediate; // before it is mocked

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.timers.reset());

/** pass lets time pass, and everything happen that has to. */
async function pass(ms: number): Promise<void> {
	for (let t = 0; t <= ms; t++) {
		mock.timers.tick(t === 0 ? 0 : 1);
		await new Promise((resolve) => turn(resolve));
	}
}

const ok: Field[] = [["grpc-status", "0"]];
const path = "/test.v1.Test/Echo";
const message = (text: string) => new TextEncoder().encode(text);

/** echo sends back what comes, and is done at the half-close. */
const echo: Service = {
	begin: (call) => call.headers([["x-served-by", "test"]]),
	data(call, b) {
		call.write(b);
		call.take(b.length);
	},
	halfClosed: (call) => call.end(ok),
};

interface Rig {
	server: TestServer;
	session: Session;
	events: string[];
}

function rig(service: Service, options: Partial<SessionOptions> & { form?: Form } = {}): Rig {
	const { form = "multiplexed", ...rest } = options;
	const server = createTestServer(service);
	const events: string[] = [];
	const session = connect({
		baseUrl: "http://localhost",
		carriers: server.carrier(form),
		onEvent: (e) => events.push(e.type === "lost" ? `lost: ${e.reason}` : e.type),
		...rest,
	});
	return { server, session, events };
}

/** collect reads a call's messages, as text, until the end. */
function collect(messages: AsyncIterable<Uint8Array>): { got: string[]; error: () => unknown } {
	const got: string[] = [];
	let error: unknown;
	void (async () => {
		try {
			for await (const m of messages) got.push(new TextDecoder().decode(m));
		} catch (err) {
			error = err;
		}
	})();
	return { got, error: () => error };
}

async function statusWithin(call: { status: Promise<Status> }, ms: number): Promise<Status | undefined> {
	let status: Status | undefined;
	void call.status.then((s) => {
		status = s;
	});
	await pass(ms);
	return status;
}

for (const form of ["multiplexed", "call"] as const) {
	const of = (name: string, f: () => Promise<void>) => test(`${form}: ${name}`, f);

	of("a bidirectional call", async () => {
		const { server, session } = rig(echo, { form });
		const call = session.call({ path, headers: { "x-id": "7" } });
		const { got, error } = collect(call.messages);
		void call.send(message("one"));
		await pass(10);
		assert.deepEqual(got, ["one"]);
		assert.equal((await call.headers).get("x-served-by"), "test");
		void call.send(message("two"));
		void call.send(message(""));
		call.closeSend();
		assert.equal((await statusWithin(call, 10))?.code, Code.ok);
		assert.deepEqual(got, ["one", "two", ""]);
		assert.equal(error(), undefined);
		const [served] = server.calls;
		assert.equal(served?.fields.get(":path"), path);
		assert.equal(served?.fields.get("x-id"), "7");
		assert.equal(served?.acknowledged, true, "END is acknowledged");
		session.close();
	});

	of("an error with trailers", async () => {
		const { session } = rig(
			{
				begin: (call) =>
					call.end([
						["grpc-status", "5"],
						["grpc-message", "no %C3%A4pfel %zz"],
						["x-why", "eaten"],
					]),
			},
			{ form },
		);
		const call = session.call({ path });
		const { error } = collect(call.messages);
		const status = await statusWithin(call, 10);
		assert.equal(status?.code, Code.notFound);
		assert.equal(status?.message, "no äpfel %zz");
		assert.equal(status?.trailers.get("x-why"), "eaten");
		assert.ok(error() instanceof StatusError);
		assert.deepEqual([...(await call.headers)], []);
		await assert.rejects(call.send(message("late")), StatusError);
		session.close();
	});

	of("no status, and an end inside of a message", async () => {
		for (const [tail, what] of [
			[[], /no status/],
			[ok, /inside of a message/],
		] as const) {
			const service: Service = {
				begin(call) {
					call.write(encodeMessage(message("whole")).subarray(0, 7));
					call.end([...tail]);
				},
			};
			const { session } = rig(service, { form });
			const status = await statusWithin(session.call({ path }), 10);
			assert.equal(status?.code, Code.internal);
			assert.match(status?.message ?? "", what);
			session.close();
		}
	});

	of("a slow reader stops the server, and a message larger than the window does not wait for itself", async () => {
		const size = 300_000;
		const service: Service = {
			begin(call) {
				for (let i = 0; i < 10; i++) call.write(encodeMessage(new Uint8Array(size)));
				call.end(ok);
			},
		};
		const { session, server } = rig(service, { form, receiveWindow: 65_536 });
		let down = 0;
		const call = session.call({ path });
		const iterator = call.messages[Symbol.asyncIterator]();
		await pass(20);
		assert.equal(server.calls[0]?.ended, true);
		const first = iterator.next();
		await pass(100);
		assert.equal((await first).value?.length, size);
		for (;;) {
			const next = iterator.next();
			await pass(100);
			const { done } = await next;
			if (done) break;
			down++;
		}
		assert.equal(down, 9);
		session.close();
	});

	of("a reader that does not wait for one message before it asks for the next", async () => {
		const { session } = rig(echo, { form });
		for (const how of ["messages", "bytes"] as const) {
			const call = how === "messages" ? session.call({ path }) : undefined;
			const raw = call ? undefined : session.open({ path });
			const iterator = (call?.messages ?? raw?.bytes)?.[Symbol.asyncIterator]() ?? assert.fail();
			const got: unknown[] = [];
			for (let n = 0; n < 4; n++) void iterator.next().then(({ value }) => got.push(value?.length));
			await pass(10);
			for (const text of ["a", "bb"]) {
				void (call?.send(message(text)) ?? raw?.write(encodeMessage(message(text))));
				await pass(10);
			}
			(call ?? raw)?.closeSend();
			await pass(10);
			assert.deepEqual(got, how === "messages" ? [1, 2, undefined, undefined] : [6, 7, undefined, undefined]);
		}
		session.close();
	});

	of("a fast sender waits", async () => {
		const service: Service = { data: () => {} }; // takes nothing
		const { session, server } = rig(service, { form, sendBuffer: 10_000 });
		const call = session.call({ path });
		let sent = 0;
		void (async () => {
			for (;;) {
				await call.send(new Uint8Array(995));
				sent++;
			}
		})().catch(() => {});
		await pass(50);
		const all = (65_536 + 10_000) / 1000;
		assert.ok(sent > 60 && sent <= all, `${sent} were sent`);
		assert.equal(server.calls[0]?.receivedBytes, 65_536);
		server.calls[0]?.take(65_536);
		await pass(20);
		assert.ok(sent > 120, `${sent} were sent after credit`);
		session.close();
		await pass(1);
	});

	of("cancel, a signal, a deadline, leaving a loop", async () => {
		const { session, server } = rig({ begin: (call) => call.write(encodeMessage(message("x"))) }, { form });
		const abort = new AbortController();
		const calls = [
			session.call({ path }),
			session.call({ path, signal: abort.signal }),
			session.call({ path, timeoutMs: 30 }),
			session.call({ path }),
		] as const;
		void (async () => {
			for await (const _ of calls[3].messages) break;
		})();
		await pass(10);
		calls[0].cancel("enough");
		abort.abort();
		await pass(40);
		const codes = await Promise.all(calls.map(async (c) => (await c.status).code));
		assert.deepEqual(codes, [Code.cancelled, Code.cancelled, Code.deadlineExceeded, Code.cancelled]);
		assert.deepEqual(
			server.calls.map((c) => c.cancelled),
			[true, true, true, true],
		);
		assert.equal(server.calls[2]?.fields.get("grpc-timeout"), "30m");
		session.close();
	});

	of("a call that was cancelled before it was begun is never begun", async () => {
		const { session, server } = rig(echo, { form });
		const call = session.call({ path });
		call.cancel();
		await pass(20);
		assert.equal(server.calls.length, 0);
		session.close();
	});

	of("a cut, and the call goes on", async () => {
		const { session, server, events } = rig(echo, { form });
		const call = session.call({ path });
		const { got } = collect(call.messages);
		void call.send(message("one"));
		await pass(20);
		server.cut();
		void call.send(message("two"));
		await pass(20);
		void call.send(message("three"));
		call.closeSend();
		assert.equal((await statusWithin(call, 20))?.code, Code.ok);
		assert.deepEqual(got, ["one", "two", "three"]);
		assert.deepEqual(events, ["connecting", "open", "lost: test: the network is gone", "connecting", "open"]);
		assert.equal(server.calls.length, 1);
		assert.equal(server.calls[0]?.epoch, 2);
		assert.equal(server.calls[0]?.acknowledged, true);
		session.close();
	});

	of("a cut before anything came back: HEADERS again", async () => {
		for (const reached of [true, false]) {
			const { session, server } = rig({ ...echo, begin: () => {} }, { form });
			const call = session.call({ path });
			const { got } = collect(call.messages);
			void call.send(message("one"));
			await pass(2); // HEADERS are under way
			assert.equal(server.calls.length, 0);
			if (reached) {
				await pass(1);
				assert.equal(server.calls.length, 1);
			}
			server.cut();
			call.closeSend();
			const status = await statusWithin(call, 300);
			assert.equal(status?.code, Code.ok, status?.message);
			assert.deepEqual(got, ["one"], `reached: ${reached}`);
			assert.equal(server.calls.length, 1);
			session.close();
		}
	});

	of("metadata that can't be sent end their call, and no other", async () => {
		for (const [x, why] of [
			["a\x07b", /the value of x has a control character/],
			["x".repeat(70_000), /the metadata is too long/],
		] as const) {
			const { session, server } = rig(echo, { form });
			const other = session.call({ path });
			await pass(10);
			const call = session.call({ path, headers: { x } });
			const status = await statusWithin(call, 10);
			assert.equal(status?.code, Code.internal);
			assert.match(status?.message ?? "", why);
			other.closeSend();
			assert.equal((await statusWithin(other, 10))?.code, Code.ok);
			assert.deepEqual([server.calls.length, server.calls[0]?.epoch], [1, 1]);
			session.close();
		}
	});

	of("headers that can't be sent are the reason", async () => {
		const { session, events } = rig(echo, { form, headers: { x: "a\x07b" } });
		const status = await statusWithin(session.call({ path }), 10_000);
		assert.equal(status?.code, Code.unavailable);
		assert.match(status?.message ?? "", /headers: the value of x has a control character/);
		assert.ok(events.length < 20);
		session.close();
	});

	of("an error of ours ends the connection, and the call goes on", async () => {
		let broken = false;
		const { session, events } = rig(echo, {
			form,
			onFrame({ direction, kind }) {
				if (broken || direction === "down" || kind !== "DATA") return;
				broken = true;
				throw new Error("broken");
			},
		});
		const call = session.call({ path });
		const { got } = collect(call.messages);
		await pass(10);
		void call.send(message("one"));
		call.closeSend();
		assert.equal((await statusWithin(call, 100))?.code, Code.ok);
		assert.deepEqual(got, ["one"]);
		assert.ok(events.includes("lost: test: broken"));
		session.close();
	});

	of("a call that is not resumed ends with its connection", async () => {
		const { session, server } = rig(echo, { form });
		const call = session.call({ path, resumable: false });
		await pass(10);
		server.cut();
		const status = await statusWithin(call, 1);
		assert.equal(status?.code, Code.unavailable);
		assert.match(status?.message ?? "", /the network is gone/);
		assert.equal(server.calls[0]?.fields.has(":call"), false);
		session.close();
	});

	of("what can't be resumed says why", async () => {
		const { session, server } = rig(echo, { form });
		const call = session.call({ path });
		await pass(10);
		const [served] = server.calls;
		assert.ok(served);
		served.epoch = 9; // somebody else has attached
		server.cut();
		const status = await statusWithin(call, 20);
		assert.equal(status?.code, Code.aborted);
		assert.match(status?.message ?? "", /outdated/);
		session.close();
	});

	of("a call that is cancelled while there is no connection", async () => {
		const { session, server } = rig({ begin: (call) => call.headers([]) }, { form });
		const call = session.call({ path });
		await pass(10);
		server.refuse = 1;
		server.cut();
		call.cancel();
		assert.equal((await call.status).code, Code.cancelled);
		assert.equal(server.calls[0]?.cancelled, false);
		await pass(1000);
		assert.equal(server.calls[0]?.cancelled, true);
		session.close();
	});

	of("the server's silence is noticed", async () => {
		const { session, server, events } = rig(echo, { form });
		const call = session.call({ path });
		void call.send(message("one"));
		await pass(10);
		server.mute = true;
		await pass(39_000);
		assert.equal(server.log.filter((f) => f.startsWith("PING")).length, 1, "the server is deaf after the first one");
		assert.equal(events.length, 2);
		await pass(1100);
		assert.match(events[2] ?? "", /lost: test: nothing was heard for 40 s/);
		session.close();
	});

	of("silence is no loss while pings are answered", async () => {
		const { session, server, events } = rig(echo, { form });
		const call = session.call({ path });
		void call.send(message("one"));
		await pass(90_000);
		assert.equal(events.join(), "connecting,open");
		assert.ok(server.log.filter((f) => f.startsWith("PING")).length >= 3);
		session.close();
	});

	of("ping", async () => {
		const { session, events, server } = rig(echo, { form });
		await assert.rejects(session.ping(), /no connection/);
		session.call({ path });
		await pass(10);
		const answered = session.ping(50);
		await pass(10);
		assert.ok((await answered) >= 0);
		server.mute = true;
		const lost = assert.rejects(session.ping(50), /no answer to a ping in 50 ms/);
		await pass(60);
		await lost;
		assert.match(events.join(), /lost: test: no answer to a ping/);
		session.close();
	});

	of("a ping without an answer is no loss while something comes", async () => {
		const { session, events, server } = rig(echo, { form });
		const call = session.call({ path });
		const { got } = collect(call.messages);
		await pass(10);
		server.pongs = false;
		const late = assert.rejects(session.ping(50), /no answer to a ping in 50 ms/);
		for (let n = 0; n < 6; n++) {
			void call.send(message(`${n}`));
			await pass(10);
		}
		await late;
		assert.equal(got.length, 6);
		assert.equal(events.join(), "connecting,open");
		session.close();
	});

	of("GOAWAY: new calls go elsewhere", async () => {
		const { session, server } = rig(echo, { form });
		const first = session.call({ path });
		const { got } = collect(first.messages);
		await pass(10);
		server.goaway();
		await pass(10);
		const second = session.call({ path });
		void second.send(message("b"));
		void first.send(message("a"));
		await pass(10);
		assert.equal(server.connections, 2);
		assert.deepEqual(got, ["a"]);
		first.closeSend();
		await pass(300);
		assert.equal(server.connections, 1);
		session.close();
	});

	of("GOAWAY: the last thing to say of the last call leaves before the connection is closed", async () => {
		for (const how of ["cancel", "closeSend"] as const) {
			const { session, server } = rig(echo, { form });
			const call = session.call({ path });
			await pass(10);
			server.goaway();
			await pass(10);
			call[how]();
			await pass(200); // a carrier may take what it has not sent yet
			assert.equal(server.connections, 1);
			await pass(100);
			assert.equal(server.connections, 0);
			const [served] = server.calls;
			assert.equal(how === "cancel" ? served?.cancelled : served?.acknowledged, true, how);
			session.close();
		}
	});

	of("more calls than the server takes wait", async () => {
		const { session, server } = rig(echo, { form });
		server.welcome.push(["max-calls", "2"]);
		const calls = [1, 2, 3].map(() => session.call({ path }));
		await pass(20);
		assert.equal(server.calls.length, 2);
		calls[0]?.closeSend();
		await pass(20);
		assert.equal(server.calls.length, 3);
		session.close();
	});

	of("1000 small messages, and a cut every few milliseconds", async () => {
		const { session, server } = rig(echo, { form });
		const random = randomOf(7);
		const call = session.call({ path });
		const { got } = collect(call.messages);
		void (async () => {
			for (let i = 0; i < 1000; i++) {
				await call.send(message(`${i} ${"x".repeat(random(2000))}`));
				await new Promise((resolve) => setTimeout(resolve, 1));
			}
			call.closeSend();
		})();
		let status: Status | undefined;
		void call.status.then((s) => {
			status = s;
		});
		let cuts = 0;
		for (let ms = 0; ms < 60_000 && !status; ms += 20) {
			await pass(random(40));
			if (server.connections === 0) continue;
			server.cut();
			cuts++;
		}
		assert.equal(status?.code, Code.ok);
		assert.ok(cuts >= 20, `${cuts} cuts`);
		assert.deepEqual(
			got.map((t) => Number.parseInt(t, 10)),
			Array.from({ length: 1000 }, (_, i) => i),
		);
		assert.equal(server.calls.length, 1);
		assert.ok((server.calls[0]?.epoch ?? 0) >= 15);
		assert.deepEqual(
			server.log.filter((l) => l.startsWith("error")),
			[],
		);
		session.close();
	});
}

test("metadata of the session: HELLO, and the fields of each call where there is no order", async () => {
	let n = 0;
	const headers = async () => ({ authorization: `Bearer ${++n}` });
	const mux = rig(echo, { headers });
	mux.session.call({ path });
	await pass(10);
	mux.server.cut();
	await pass(20);
	assert.deepEqual(
		mux.server.hello.map((h) => h.get("authorization")),
		["Bearer 1", "Bearer 2"],
	);
	assert.equal(mux.server.calls[0]?.fields.has("authorization"), false);
	mux.session.close();
	const streams = rig(echo, { headers: { authorization: "Bearer x" }, form: "call" });
	streams.session.call({ path });
	await pass(10);
	assert.equal(streams.server.calls[0]?.fields.get("authorization"), "Bearer x");
	streams.session.close();
});

test("metadata of the session and of a call that are too long together end the call", async () => {
	const headers = { x: "x".repeat(40_000) };
	const { session } = rig(echo, { form: "call", headers });
	const other = session.call({ path });
	const status = await statusWithin(session.call({ path, headers: { y: headers.x } }), 20);
	assert.equal(status?.code, Code.internal);
	other.closeSend();
	assert.equal((await statusWithin(other, 20))?.code, Code.ok);
	session.close();
});

test("another carrier: calls go along", async () => {
	const { session, server, events } = rig(echo);
	const call = session.call({ path });
	const { got } = collect(call.messages);
	void call.send(message("one"));
	await pass(10);
	session.use(server.carrier("call", "other"));
	await pass(10);
	assert.equal(session.carrier, "other");
	void call.send(message("two"));
	call.closeSend();
	assert.equal((await statusWithin(call, 20))?.code, Code.ok);
	assert.deepEqual(got, ["one", "two"]);
	await pass(300);
	assert.equal(server.connections, 1);
	assert.deepEqual(server.closed, ["cut"], "the old connection does not cancel what goes on elsewhere");
	assert.deepEqual(events, ["connecting", "open", "connecting", "open"]);
	session.close();
});

test("no connection: calls end, with the reason, and retries slow down", async () => {
	const { session, server, events } = rig(echo);
	server.refuse = 1000;
	const call = session.call({ path });
	const status = await statusWithin(call, 10_100);
	assert.equal(status?.code, Code.unavailable);
	assert.match(status?.message ?? "", /there was no connection in 10000 ms: test: refused/);
	const tries = events.filter((e) => e === "connecting").length;
	assert.ok(tries >= 5 && tries <= 9, `${tries} tries`);
	await pass(30_000);
	assert.equal(events.filter((e) => e === "connecting").length, tries, "nobody waits, nobody tries");
	session.close();
});

test("a carrier that the platform does not have: calls end, with the reason", async () => {
	const absent = (): never => {
		throw new TypeError("there is no such thing here");
	};
	const { carrier } = createTestServer(echo);
	const { session } = rig(echo, { carriers: { ...carrier("multiplexed"), connect: absent } });
	const status = await statusWithin(session.call({ path }), 10_100);
	assert.equal(status?.code, Code.unavailable);
	assert.match(status?.message ?? "", /there is no such thing here/);
	session.close();
});

test("carriers are tried in order", async () => {
	const { server } = rig(echo);
	server.refuse = 1;
	const events: string[] = [];
	const session = connect({
		baseUrl: "http://localhost",
		carriers: [server.carrier("call", "first"), server.carrier("multiplexed", "second")],
		fetch: async () => Promise.reject(new Error("there is no network")),
		onEvent: (e) => events.push("carrier" in e ? `${e.type} ${e.carrier}` : e.type),
	});
	session.call({ path });
	await pass(30);
	assert.deepEqual(events, ["connecting first", "failed first", "connecting second", "open second"]);
	session.close();
});

for (const how of ["a cut", "a move"]) {
	test(`a call of which nothing has come back for long, and ${how}: HEADERS are not sent again`, async () => {
		const { session, server } = rig({ halfClosed: (call) => call.end(ok) });
		server.welcome.push(["detach", "5000"]);
		const call = session.call({ path });
		await pass(5100);
		if (how === "a cut") server.cut();
		else session.use(server.carrier("multiplexed", "other"));
		await pass(20);
		call.closeSend();
		const status = await statusWithin(call, 20);
		assert.equal(status?.code, Code.ok, status?.message);
		assert.deepEqual(
			server.log.filter((f) => /HEADERS|RESUME/.test(f)),
			["HEADERS 1", "RESUME 1"],
		);
		assert.equal(server.calls.length, 1);
		session.close();
	});
}

test("a call of which nothing has come back waits as long as others", async () => {
	const { session, server } = rig({ halfClosed: (call) => call.end(ok) });
	server.welcome.push(["detach", "5000"]);
	const call = session.call({ path });
	await pass(3000);
	server.refuse = 3;
	const random = mock.method(Math, "random", () => 0.9); // 3.3 s until the fourth try
	server.cut();
	call.closeSend();
	assert.equal((await statusWithin(call, 4000))?.code, Code.ok);
	assert.equal(server.log.filter((f) => f.startsWith("HEADERS")).length, 1);
	random.mock.restore();
	session.close();
});

test("a call that waits too long for another connection ends", async () => {
	const { session, server } = rig(echo);
	server.welcome.push(["detach", "5000"]);
	const call = session.call({ path });
	await pass(10);
	server.refuse = 1000;
	server.cut();
	const status = await statusWithin(call, 5100);
	assert.equal(status?.code, Code.unavailable);
	assert.match(status?.message ?? "", /the connection was lost, and there was no other in 5000 ms/);
	session.close();
});

test("the state and its events", async () => {
	const { session, server } = rig(echo);
	const phases: string[] = [];
	const listener = ({ state }: SessionEvents["state"]) => phases.push(state.phase);
	session.addEventListener("state", listener);
	const opens: (string | undefined)[] = [];
	session.addEventListener("open", (event) => opens.push(event.carrier));
	assert.equal(session.state.phase, "idle");
	session.call({ path });
	await pass(20);
	assert.deepEqual(
		{ ...session.state, roundTripMs: 0 },
		{
			phase: "open",
			carrier: "test",
			roundTripMs: 0,
			reconnects: 0,
			reason: undefined,
			offline: false,
		},
	);
	assert.ok((session.state.roundTripMs ?? 0) > 0);
	server.refuse = 1;
	server.cut();
	await pass(2);
	assert.equal(session.state.reason, "test: refused");
	await pass(400);
	assert.deepEqual([session.state.phase, session.state.reconnects], ["open", 1]);
	session.removeEventListener("state", listener);
	session.close();
	assert.equal(session.state.phase, "closed");
	assert.deepEqual(opens, ["test", "test"]);
	assert.deepEqual([...new Set(phases)], ["connecting", "open", "waiting"]);
});

test("close", async () => {
	const { session, server } = rig(echo);
	const call = session.call({ path });
	await pass(10);
	session.close();
	assert.equal((await call.status).code, Code.cancelled);
	assert.deepEqual(server.closed, ["leave"]);
	assert.equal((await session.call({ path }).status).code, Code.cancelled);
});

test("close cancels calls that have pipes of their own", async () => {
	const { session, server } = rig(echo, { form: "call" });
	const call = session.call({ path });
	await pass(10);
	session.close();
	assert.equal((await call.status).code, Code.cancelled);
	assert.equal(server.calls[0]?.cancelled, true);
});

test("a server without tickets: calls end with their connection", async () => {
	const { session, server } = rig(echo);
	server.welcome.splice(1, 1);
	const call = session.call({ path });
	await pass(10);
	assert.equal(server.calls[0]?.fields.has(":call"), false);
	server.cut();
	assert.equal((await statusWithin(call, 10))?.code, Code.unavailable);
	session.close();
});

test("a path that is none, fields that are none", () => {
	const { session } = rig(echo);
	const begin = (init: CallInit) => () => session.call(init);
	assert.throws(begin({ path: "nowhere" }), TypeError);
	session.close();
});
