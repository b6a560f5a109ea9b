import assert from "node:assert/strict";
import { test } from "node:test";
import {
	briefMs,
	type Candidate,
	type Choice,
	createChoice,
	demotedMs,
	firstPauseMs,
	headStartMs,
	lastPauseMs,
	makeshiftPauseMs,
	rivalMs,
	staggerMs,
	type Step,
} from "./choice.js";

const [websocket, webtransport, duplex, poll] = [0, 1, 2, 3] as const;
const all: Candidate[] = [
	{ name: "websocket", eager: true, datagrams: false },
	{ name: "webtransport", eager: true, datagrams: true },
	{ name: "duplex", eager: false, datagrams: false },
	{ name: "poll", eager: false, datagrams: false },
];

/** A Play is a choice with its clock. */
function play(remembered?: string, candidates = all) {
	const choice = createChoice(candidates, remembered);
	let now = 1_000_000;
	const names = (steps: readonly Step[]) =>
		steps.map((s) => (s.do === "fail" ? `fail ${s.reason}` : `${s.do} ${candidates[s.candidate]?.name}`));
	return {
		choice,
		get now() {
			return now;
		},
		/** said does something and tells what the answer is. */
		said: (f: (choice: Choice, now: number) => Step[]) => names(f(choice, now)),
		/** pass lets time pass, tick by tick as asked for, and tells all steps with the milliseconds since. */
		pass(ms: number, busy = true) {
			const [since, until] = [now, now + ms];
			const steps: string[] = [];
			for (let due = choice.due; due !== undefined && due <= until; due = choice.due) {
				now = Math.max(now, due);
				for (const step of names(choice.tick(busy, now))) steps.push(`${now - since}: ${step}`);
			}
			now = until;
			return steps;
		},
	};
}

test("a race: WebTransport beside WebSocket, others after two seconds each", () => {
	const p = play();
	assert.deepEqual(
		p.said((c, now) => c.race(now)),
		["start websocket", "start webtransport"],
	);
	assert.deepEqual(p.pass(10_000), [`${staggerMs}: start duplex`, `${2 * staggerMs}: start poll`]);
	assert.equal(p.choice.racing, true);
});

test("a race: the next one starts at once when one fails", () => {
	const p = play();
	p.said((c, now) => c.race(now));
	assert.deepEqual(
		p.said((c, now) => c.failed(websocket, "refused", now)),
		["start duplex"],
	);
	assert.deepEqual(
		p.said((c, now) => c.failed(webtransport, "no UDP", now)),
		["start poll"],
	);
	assert.deepEqual(
		p.said((c, now) => c.failed(duplex, "buffered", now)),
		[],
	);
	assert.deepEqual(
		p.said((c, now) => c.failed(poll, "refused too", now)),
		["fail refused; no UDP; buffered; refused too"],
	);
	assert.equal(p.choice.racing, false);
});

test("the first that answers wins, and the others are closed soon", () => {
	const p = play();
	p.said((c, now) => c.race(now));
	p.pass(20);
	assert.deepEqual(
		p.said((c, now) => c.answered(websocket, now)),
		["win websocket"],
	);
	assert.deepEqual(p.pass(5000), [`${rivalMs}: stop webtransport`]);
	assert.deepEqual(
		p.said((c, now) => c.answered(webtransport, now)),
		[],
		"too late",
	);
});

test("a rival has to be clearly better", () => {
	for (const [ms, currentMs, expected] of [
		[60, 100, ["win webtransport"]],
		[80, 100, ["stop webtransport"]],
		[1, 10, ["stop webtransport"]], // what nobody notices
		[100, 60, ["stop webtransport"]],
	] as const) {
		const p = play();
		p.said((c, now) => c.race(now));
		p.said((c, now) => c.answered(websocket, now));
		assert.deepEqual(
			p.said((c, now) => c.answered(webtransport, now)),
			["compare webtransport"],
		);
		assert.deepEqual(
			p.said((c, now) => c.compared(webtransport, ms, currentMs, now)),
			expected,
		);
	}
});

test("a hole for UDP: whatever is remembered, another carrier starts within a second", () => {
	const p = play("webtransport");
	assert.deepEqual(
		p.said((c, now) => c.race(now)),
		["start webtransport"],
	);
	assert.deepEqual(p.pass(headStartMs), [`${headStartMs}: start websocket`]);
	assert.deepEqual(
		p.said((c, now) => c.answered(websocket, now)),
		["win websocket"],
	);
});

test("what was remembered starts first, whatever it is", () => {
	const p = play("poll");
	assert.deepEqual(
		p.said((c, now) => c.race(now)),
		["start poll"],
	);
	assert.deepEqual(p.pass(3000), [
		`${headStartMs}: start websocket`,
		`${headStartMs}: start webtransport`,
		`${staggerMs}: start duplex`,
	]);
});

test("a makeshift looks at others soon, others after a minute, then seldom, and only for calls", () => {
	const p = play("poll");
	p.said((c, now) => c.race(now));
	assert.deepEqual(
		p.said((c, now) => c.answered(poll, now)),
		["win poll"],
	);
	assert.deepEqual(p.pass(makeshiftPauseMs), [`${makeshiftPauseMs}: start websocket`]);
	p.said((c, now) => c.failed(websocket, "refused", now));
	assert.deepEqual(p.pass(firstPauseMs), [`${firstPauseMs}: start webtransport`]);
	p.said((c, now) => c.answered(webtransport, now));
	assert.deepEqual(
		p.said((c, now) => c.compared(webtransport, 20, 60, now)),
		["win webtransport"],
	);
	assert.deepEqual(p.pass(lastPauseMs, false), [], "nobody calls");
	let looks = 0;
	for (let minutes = 0; minutes < 600; minutes++) {
		for (const step of p.pass(60_000)) {
			const candidate = all.findIndex(({ name }) => step.endsWith(`start ${name}`));
			p.said((c, now) => c.answered(candidate, now));
			assert.match(p.said((c, now) => c.compared(candidate, 19, 20, now)).join(), /^stop/);
			looks++;
		}
	}
	assert.ok(looks > 9 && looks < 20, `${looks} looks in ten hours`);
});

test("a gateway that was restarted is not left to a makeshift", () => {
	const p = play("websocket");
	p.said((c, now) => c.race(now));
	p.said((c, now) => c.answered(websocket, now));
	p.pass(1000);
	p.choice.left(true, p.now);
	p.said((c, now) => c.race(now));
	for (const candidate of [websocket, webtransport, duplex]) p.said((c, now) => c.failed(candidate, "refused", now));
	assert.deepEqual(
		p.said((c, now) => c.answered(poll, now)),
		["win poll"],
	);
	assert.deepEqual(p.pass(makeshiftPauseMs), [`${makeshiftPauseMs}: start websocket`]);
	p.said((c, now) => c.answered(websocket, now));
	assert.deepEqual(
		p.said((c, now) => c.compared(websocket, 20, 19, now)),
		["win websocket"],
	);
});

test("what was refused once more beside a makeshift is left alone", () => {
	const p = play("websocket");
	p.said((c, now) => c.race(now));
	p.said((c, now) => c.answered(websocket, now));
	p.pass(1000);
	p.choice.left(true, p.now);
	p.said((c, now) => c.race(now));
	for (const candidate of [websocket, webtransport]) p.said((c, now) => c.failed(candidate, "refused", now));
	p.said((c, now) => c.answered(duplex, now));
	assert.deepEqual(p.pass(makeshiftPauseMs), [`${rivalMs}: stop poll`, `${makeshiftPauseMs}: start websocket`]);
	p.said((c, now) => c.failed(websocket, "refused", now));
	const looks = p.pass(demotedMs - makeshiftPauseMs);
	assert.ok(looks.length > 1 && looks.every((step) => !step.endsWith("websocket")), looks.join());
});

test("never back and forth", () => {
	const p = play();
	p.said((c, now) => c.race(now));
	p.said((c, now) => c.answered(websocket, now));
	let moves = 0;
	// Each time that another carrier is looked at, it happens to be twice as fast.
	for (let hours = 0; hours < 24 * 60; hours++) {
		for (const step of p.pass(60_000)) {
			const candidate = all.findIndex(({ name }) => step.endsWith(`start ${name}`));
			if (candidate < 0) continue;
			p.said((c, now) => c.answered(candidate, now));
			const [then] = p.said((c, now) => c.compared(candidate, 50, 100, now));
			if (then?.startsWith("win")) moves++;
		}
	}
	assert.ok(moves > 3 && moves < 32, `${moves} moves in a day`);
});

test("what fails twice comes last for a while", () => {
	const p = play();
	p.said((c, now) => c.race(now));
	p.said((c, now) => c.answered(websocket, now));
	for (let times = 0; times < 2; times++) {
		p.pass(briefMs - 2 * rivalMs, false);
		p.choice.left(true, p.now);
		const started = p.said((c, now) => c.race(now));
		if (times === 0) {
			assert.deepEqual(started, ["start websocket", "start webtransport"]);
			p.said((c, now) => c.answered(websocket, now));
			p.pass(rivalMs);
		} else {
			assert.deepEqual(started, ["start webtransport"]);
			assert.deepEqual(p.pass(10_000), [
				`${staggerMs}: start duplex`,
				`${2 * staggerMs}: start poll`,
				`${3 * staggerMs}: start websocket`,
			]);
		}
	}
	p.said((c, now) => c.answered(duplex, now));
	p.pass(demotedMs, false);
	p.choice.left(true, p.now);
	assert.deepEqual(
		p.said((c, now) => c.race(now)),
		["start duplex"],
	);
	assert.deepEqual(p.pass(headStartMs), [`${headStartMs}: start websocket`, `${headStartMs}: start webtransport`]);
});

test("when nothing works nobody is demoted: it is the network", () => {
	const p = play();
	for (let times = 0; times < 5; times++) {
		assert.deepEqual(
			p.said((c, now) => c.race(now)),
			["start websocket", "start webtransport"],
		);
		for (const candidate of all.keys()) p.said((c, now) => c.failed(candidate, "gone", now));
		p.pass(20_000);
	}
});

test("what is given up on purpose is no failure", () => {
	const p = play();
	for (let times = 0; times < 5; times++) {
		const [started] = p.said((c, now) => c.race(now));
		assert.equal(started, "start websocket");
		p.said((c, now) => c.answered(websocket, now));
		p.pass(1000);
		p.choice.left(false, p.now);
	}
});

test("what the gateway says to avoid is closed, and tried when nothing else works", () => {
	const p = play();
	p.said((c, now) => c.race(now));
	assert.deepEqual(
		p.said((c, now) => c.avoid(webtransport, "stalls", now)),
		["stop webtransport"],
	);
	const started = (["websocket", "duplex", "poll"] as const).map((_, i) =>
		p.said((c, now) => c.failed([websocket, duplex, poll][i] as number, "refused", now)),
	);
	assert.deepEqual(started, [["start duplex"], ["start poll"], ["start webtransport"]]);
	assert.deepEqual(
		p.said((c, now) => c.answered(webtransport, now)),
		["win webtransport"],
	);
});

test("what is to be avoided before it was started goes to the end", () => {
	const p = play("webtransport");
	p.said((c, now) => c.race(now));
	assert.deepEqual(
		p.said((c, now) => c.avoid(websocket, "blocked here", now)),
		[],
	);
	assert.deepEqual(p.pass(7000), [
		`${staggerMs}: start duplex`,
		`${2 * staggerMs}: start poll`,
		`${3 * staggerMs}: start websocket`,
	]);
	p.said((c, now) => c.answered(duplex, now));
	p.pass(rivalMs);
	p.choice.left(false, p.now);
	assert.deepEqual(p.said((c, now) => c.race(now)).concat(p.pass(headStartMs)), [
		"start duplex",
		`${headStartMs}: start webtransport`,
	]);
});

test("datagrams: a call that wants them moves the session, and keeps it there", () => {
	const p = play("websocket");
	p.said((c, now) => c.race(now));
	p.said((c, now) => c.answered(websocket, now));
	p.pass(2000);
	assert.deepEqual(
		p.said((c, now) => c.datagrams(now)),
		["start webtransport"],
	);
	assert.equal(p.choice.awaitsDatagrams, true);
	assert.deepEqual(
		p.said((c, now) => c.datagrams(now)),
		[],
		"once",
	);
	assert.deepEqual(
		p.said((c, now) => c.answered(webtransport, now)),
		["win webtransport"],
	);
	assert.equal(p.choice.awaitsDatagrams, false);
	assert.deepEqual(p.pass(lastPauseMs), [], "it stays");
});

test("datagrams: where there are none, nobody waits twice", () => {
	const p = play("websocket");
	p.said((c, now) => c.datagrams(now)); // before there is a race
	p.said((c, now) => c.race(now));
	assert.deepEqual(
		p.said((c, now) => c.answered(websocket, now)),
		["win websocket", "start webtransport"],
	);
	p.pass(rivalMs + 500);
	assert.equal(p.choice.awaitsDatagrams, true, "the limit of rivals is not its limit");
	assert.deepEqual(
		p.said((c, now) => c.failed(webtransport, "no UDP", now)),
		[],
	);
	assert.equal(p.choice.awaitsDatagrams, false);
	assert.deepEqual(
		p.said((c, now) => c.datagrams(now)),
		[],
	);
	p.pass(firstPauseMs + 1, false);
	assert.deepEqual(
		p.said((c, now) => c.datagrams(now)),
		["start webtransport"],
	);
});

test("stop gives up what was started", () => {
	const p = play();
	p.said((c, now) => c.race(now));
	assert.deepEqual(
		p.said((c) => c.stop("closed")),
		["stop websocket", "stop webtransport"],
	);
	assert.deepEqual(p.pass(20_000), []);
	assert.equal(p.choice.racing, false);
});
