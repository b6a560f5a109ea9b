import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import "./auto.js"; // so that it does not take time when it is wanted
import type { Carrier } from "./carrier.js";
import { encodeFields } from "./fields.js";
import { encodeFrame, type Form, Kind } from "./frames.js";
import { connect, type SessionOptions } from "./session.js";
import { Code, type Status } from "./status.js";
import { createTestServer, type Service } from "./testing.js";

const turn = setImmediate; // before it is mocked

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.timers.reset());

async function pass(ms: number): Promise<void> {
	for (let t = 0; t <= ms; t++) {
		mock.timers.tick(t === 0 ? 0 : 1);
		await new Promise((resolve) => turn(resolve));
	}
}

const path = "/test.v1.Test/Echo";
const echo: Service = {
	data(call, b) {
		call.write(b);
		call.take(b.length);
	},
	halfClosed: (call) => call.end([["grpc-status", "0"]]),
};

/** What a gateway says. */
const listed = { version: 1, carriers: ["websocket", "webtransport", "duplex"].map((name) => ({ name, url: "/x" })) };

/**
 * A Network is what a carrier meets: it works, leads to a server of its own, refuses, never answers, lets nothing through once it is
 * open, or no answers to pings.
 */
type Network = "works" | "apart" | "refuses" | "hole" | "mute" | "chatty";

function rig(networks: Record<string, Network>, options: Partial<SessionOptions> & { discovery?: unknown } = {}) {
	const { discovery = listed, ...rest } = options;
	const server = createTestServer(echo);
	const muted = createTestServer(echo);
	const of = (name: string, form: Form): Carrier => {
		const made = server.carrier(form, name);
		const eager = name.startsWith("web");
		const connectMs = name === "webtransport" ? 3000 : 5000;
		return {
			...made,
			eager,
			connectMs,
			datagrams: name === "webtransport",
			async connect(endpoint, events, signal) {
				if (networks[name] === "refuses") throw new Error("refused");
				if (networks[name] === "hole") return new Promise(() => {});
				if (networks[name] === "works") return made.connect(endpoint, events, signal);
				const connection = await muted.carrier(form, name).connect(endpoint, events, signal);
				if (networks[name] === "mute") setTimeout(() => (muted.mute = true), 2); // after WELCOME
				if (networks[name] === "chatty") {
					muted.pongs = false;
					const payload = encodeFields(muted.welcome);
					const welcome = encodeFrame(form, 0, { kind: Kind.welcome, payload });
					for (let ms = 10; ms < 10_000; ms += 10) setTimeout(() => events.data(welcome), ms);
				}
				return connection;
			},
		};
	};
	const events: string[] = [];
	let asked = 0;
	const session = connect({
		baseUrl: "https://gateway.example",
		carriers: [
			of("websocket", "multiplexed"),
			of("webtransport", "call"),
			of("duplex", "multiplexed"),
			of("long-poll", "multiplexed"),
		],
		onEvent: (e) => events.push("carrier" in e ? `${e.type} ${e.carrier}` : `${e.type}`),
		async fetch() {
			asked++;
			if (discovery === undefined || discovery === null) throw new Error("no network");
			return new Response(JSON.stringify(discovery));
		},
		...rest,
	});
	return { server, apart: muted, session, events, networks, asked: () => asked };
}

test("calls wait for the choice, and none is begun twice", async () => {
	const { session, server, events } = rig({
		websocket: "works",
		webtransport: "works",
		duplex: "works",
		"long-poll": "works",
	});
	const calls = Array.from({ length: 20 }, () => session.call({ path }));
	for (const call of calls) call.closeSend();
	await pass(40);
	assert.deepEqual(
		await Promise.all(calls.map(async (c) => (await c.status).code)),
		calls.map(() => Code.ok),
	);
	assert.equal(server.calls.length, calls.length);
	assert.equal(events.filter((e) => e.startsWith("open")).length, 1);
	await pass(1200);
	assert.equal(server.connections, 1, "what did not win is closed");
	session.close();
});

test("a hole for UDP, and a WebSocket that is refused: connected within two seconds", async () => {
	const { session, server, events } = rig({
		websocket: "refuses",
		webtransport: "hole",
		duplex: "works",
		"long-poll": "works",
	});
	session.call({ path });
	await pass(30);
	assert.equal(session.carrier, "duplex");
	assert.deepEqual(events.slice(0, 2), ["connecting websocket", "failed websocket"]);
	await pass(1500);
	assert.equal(server.connections, 1);
	session.close();
});

test("what opens and lets nothing through does not win", async () => {
	const { session } = rig({ websocket: "mute", webtransport: "refuses", duplex: "works", "long-poll": "works" });
	session.call({ path });
	await pass(30);
	assert.equal(session.carrier, "duplex", "an error elsewhere has it begin at once");
	session.close();
});

test("what answers no ping does not win, whatever else it says", async () => {
	const { session, events } = rig({
		websocket: "chatty",
		webtransport: "refuses",
		duplex: "refuses",
		"long-poll": "refuses",
	});
	session.call({ path });
	await pass(5100);
	assert.equal(session.carrier, undefined);
	assert.ok(events.includes("failed websocket"));
	session.close();
});

test("the connection is lost while another one is compared with it: that one wins", async () => {
	const { session, apart, events, networks } = rig({
		websocket: "apart",
		webtransport: "hole",
		duplex: "refuses",
		"long-poll": "refuses",
	});
	session.call({ path });
	await pass(59_000);
	assert.equal(session.carrier, "websocket");
	networks.webtransport = "works";
	apart.mute = true;
	await pass(6000);
	assert.ok(events.includes("lost"));
	assert.equal(session.carrier, "webtransport");
	session.close();
});

test("holes everywhere but for the last one", async () => {
	const { session } = rig({ websocket: "hole", webtransport: "hole", duplex: "hole", "long-poll": "works" });
	session.call({ path });
	await pass(2500);
	assert.equal(session.carrier, undefined);
	assert.equal(session.state.phase, "connecting");
	await pass(1600);
	assert.equal(session.carrier, "long-poll");
	session.close();
});

test("nothing works: the gateway answers, so something is in the way", async () => {
	const { session, events } = rig(
		{ websocket: "refuses", webtransport: "refuses", duplex: "refuses", "long-poll": "refuses" },
		{ waitMs: 3000 },
	);
	const call = session.call({ path });
	await pass(100);
	assert.match(
		session.state.reason ?? "",
		/^https:\/\/gateway.example answers, but no carrier gets through: websocket: refused; webtransport: refused; duplex: ref/,
	);
	let status: Status | undefined;
	void call.status.then((s) => {
		status = s;
	});
	await pass(3000);
	assert.equal(status?.code, Code.unavailable);
	assert.match(status?.message ?? "", /answers, but no carrier gets through/);
	const tries = events.filter((e) => e === "connecting websocket").length;
	assert.ok(tries >= 3 && tries <= 6, `${tries} tries in 3 s`);
	session.close();
});

test("nothing works: no network", async () => {
	const { session } = rig(
		{ websocket: "refuses", webtransport: "refuses", duplex: "refuses", "long-poll": "refuses" },
		{ discovery: null },
	);
	session.call({ path });
	await pass(100);
	assert.match(
		session.state.reason ?? "",
		/does not answer: there is no network, or no gateway, or its certificate is not trusted: websocket: refused/,
	);
	session.close();
});

test("headers that can't be had are the reason, and no carrier is blamed", async () => {
	const { session, events } = rig({ websocket: "works" }, { headers: () => Promise.reject(new Error("logged out")) });
	session.call({ path });
	await pass(100);
	assert.equal(session.state.reason, "headers: logged out");
	assert.deepEqual([...new Set(events)], ["lost"]);
	session.close();
});

test("headers that can't be sent are the reason, and no carrier is blamed", async () => {
	const { session, events } = rig({ websocket: "works" }, { headers: { x: "a\x07b" } });
	session.call({ path });
	await pass(100);
	assert.equal(session.state.reason, "headers: the value of x has a control character");
	assert.deepEqual([...new Set(events)], ["lost"]);
	session.close();
});

test("a carrier that the gateway does not have is tried last", async () => {
	const { session, events } = rig(
		{ websocket: "hole", webtransport: "works", duplex: "works", "long-poll": "works" },
		{ discovery: { version: 1, carriers: [{ name: "duplex", url: "/x" }] } },
	);
	session.call({ path });
	await pass(100);
	assert.equal(session.carrier, "duplex");
	assert.ok(!events.includes("connecting webtransport"));
	session.close();
});

test("the carrier dies, and calls go on over another one", async () => {
	const { session, server, networks } = rig({
		websocket: "works",
		webtransport: "hole",
		duplex: "works",
		"long-poll": "works",
	});
	const call = session.call({ path });
	await pass(30);
	assert.equal(session.carrier, "websocket");
	networks.websocket = "refuses";
	server.cut();
	call.closeSend();
	await pass(100);
	assert.equal(session.carrier, "duplex");
	assert.equal((await call.status).code, Code.ok);
	assert.equal(server.calls.length, 1);
	session.close();
});

test("calls that are on their way live through moves between carriers", async () => {
	const { session, server } = rig({ websocket: "works", webtransport: "works", duplex: "works", "long-poll": "works" });
	const got: string[] = [];
	const call = session.call({ path });
	void (async () => {
		for await (const m of call.messages) got.push(new TextDecoder().decode(m));
	})();
	void (async () => {
		for (let i = 0; i < 300; i++) {
			await call.send(new TextEncoder().encode(`${i}`));
			await new Promise((resolve) => setTimeout(resolve, 1));
		}
		call.closeSend();
	})();
	for (let n = 0; n < 10; n++) {
		await pass(30);
		server.cut();
	}
	await pass(600);
	assert.equal((await call.status).code, Code.ok);
	assert.deepEqual(
		got,
		Array.from({ length: 300 }, (_, i) => `${i}`),
	);
	assert.equal(server.calls.length, 1);
	session.close();
});
