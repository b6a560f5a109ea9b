// The automatic choice of a carrier: what choice.ts says, done. A module of its own, which is loaded when a session has several
// carriers.

import type { Carrier } from "./carrier.js";
import { type Choice, createChoice, type Step } from "./choice.js";
import type { Dialer, Dialling } from "./dial.js";
import { type Discovery, discover } from "./discovery.js";
import { explain } from "./explain.js";
import { encodeFields, type Field } from "./fields.js";
import type { Link } from "./link.js";
import { createMemory } from "./memory.js";
import { messageOf } from "./message-of.js";

/** So many round trips are measured to compare two carriers: the best ones count. */
const comparedPings = 3;

/** What the gateway says is waited for so long before WebTransport is tried: it may say that this browser should not. */
const discoveryMs = 1000;

/** The names of the gateway for carriers with names of their own. */
const families = new Map([
	["duplex-streaming", "duplex"],
	["long-poll", "duplex"],
]);

/** createAuto makes connections of whatever carrier is best. */
export function createAuto(carriers: readonly Carrier[], session: Dialling): Dialer {
	const memory = createMemory(session.endpoint.origin);
	const choice: Choice = createChoice(
		carriers.map(({ name, eager = false, datagrams = false }) => ({ name, eager, datagrams })),
		memory.carrier,
	);
	const links = new Map<number, Link | undefined>(); // started; undefined is one that has no link yet
	let hello: readonly Field[] = []; // of the race
	let timer: ReturnType<typeof setTimeout> | undefined;
	let asked: Promise<Discovery | undefined> | undefined;
	let preparing = false;
	let awaiting = false; // datagrams
	let stopped = false;

	/** wait has the choice asked again when it is due. */
	const wait = () => {
		clearTimeout(timer);
		const { due } = choice;
		if (due === undefined || stopped) return;
		timer = setTimeout(() => perform(choice.tick(session.busy, Date.now())), Math.max(0, due - Date.now()));
		(timer as { unref?(): void }).unref?.();
	};

	const perform = (steps: readonly Step[]) => {
		for (const step of steps) {
			if (step.do === "start") void start(step.candidate);
			else if (step.do === "stop") stop(step.candidate, step.reason);
			else if (step.do === "compare")
				void compare(step.candidate).catch(() => {}); // failed says it
			else if (step.do === "win") won(step.candidate);
			else fail(step.reason);
		}
		wait();
		const settled = awaiting && !choice.awaitsDatagrams;
		awaiting = choice.awaitsDatagrams;
		if (settled) session.settled();
	};

	const nameOf = (candidate: number) => (carriers[candidate] as Carrier).name;

	const failed = (candidate: number, link: Link | undefined, reason: string) => {
		if (!links.has(candidate) || links.get(candidate) !== link) return;
		links.delete(candidate);
		session.tell({ type: "failed", carrier: nameOf(candidate), reason });
		perform(choice.failed(candidate, reason, Date.now()));
	};

	const start = async (candidate: number) => {
		const carrier = carriers[candidate] as Carrier;
		links.set(candidate, undefined);
		try {
			const fields = session.current ? await session.hello() : hello;
			if (carrier.name === "webtransport") await Promise.race([asked, pause(discoveryMs)]);
			if (stopped || !links.has(candidate) || links.get(candidate)) return;
			const made = session.link(carrier, fields, {
				open: () => void prove(candidate, made, carrier.connectMs).catch(() => {}), // failed says it
				lost: (reason) => failed(candidate, made, reason),
			});
			links.set(candidate, made);
		} catch (err) {
			failed(candidate, undefined, `headers: ${messageOf(err)}`);
		}
	};

	/** ping measures a round trip of a candidate, which has nothing else to bring: without an answer in time it fails. */
	const ping = async (candidate: number, link: Link, ms: number) => {
		try {
			return await link.ping(ms);
		} catch (err) {
			if (links.get(candidate) === link) link.close("cut");
			failed(candidate, link, `${nameOf(candidate)}: ${messageOf(err)}`);
			throw err;
		}
	};

	/** prove waits for the first answer: something on the way may hold back what should come. */
	const prove = async (candidate: number, link: Link, ms: number) => {
		await ping(candidate, link, ms);
		if (links.get(candidate) === link) perform(choice.answered(candidate, Date.now()));
	};

	const compare = async (candidate: number) => {
		const link = links.get(candidate);
		const current = session.current;
		if (!link || !current) return;
		const { connectMs } = carriers[candidate] as Carrier;
		let [best, currentBest] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
		for (let n = 0; n < comparedPings; n++) {
			best = Math.min(best, await ping(candidate, link, connectMs));
			// It may be busy, which is as bad as being that slow. If it is lost, there is nothing to compare with.
			currentBest = Math.min(currentBest, await current.ping(connectMs).catch(() => connectMs));
			if (links.get(candidate) !== link) return;
			if (session.current !== current) return perform(choice.answered(candidate, Date.now()));
		}
		perform(choice.compared(candidate, best, currentBest, Date.now()));
	};

	const stop = (candidate: number, reason: string) => {
		links.get(candidate)?.close("cut", reason);
		links.delete(candidate);
	};

	const won = (candidate: number) => {
		const link = links.get(candidate);
		links.delete(candidate);
		if (!link) return;
		memory.remember(nameOf(candidate));
		session.won(link);
	};

	const fail = (reason: string) => {
		asked = undefined; // the gateway may say something else by now
		session.failed(reason);
		void explain(session.endpoint, reason, session.fetch).then((why) => stopped || session.explain(why));
	};

	/** ask asks the gateway which carriers it has, and which are not for this browser. */
	const ask = async (): Promise<Discovery | undefined> => {
		try {
			const found = await discover(session.endpoint, AbortSignal.timeout(5 * discoveryMs), session.fetch);
			for (const [candidate, { name }] of carriers.entries()) {
				const family = families.get(name) ?? name;
				const known = family === "duplex" || family === "websocket" || family === "webtransport";
				const avoided = found.avoid.find((a) => a.carrier === family);
				if (avoided) perform(choice.avoid(candidate, avoided.reason, Date.now()));
				else if (known && !found.carriers.some((c) => c.name === family))
					perform(choice.avoid(candidate, "the gateway does not have it", Date.now()));
			}
			return found;
		} catch {
			return undefined; // it is for advice only
		}
	};

	const dial = async () => {
		asked ??= ask();
		preparing = true;
		try {
			hello = await session.hello();
			encodeFields(hello); // throws if they can't be sent, whatever the carrier
		} catch (err) {
			preparing = false;
			if (!stopped) session.failed(`headers: ${messageOf(err)}`);
			return;
		}
		preparing = false;
		if (!stopped) perform(choice.race(Date.now()));
	};

	return {
		dial: () => void dial(),
		left(byItself) {
			choice.left(byItself, Date.now());
			wait();
		},
		datagrams() {
			perform(choice.datagrams(Date.now()));
			return choice.awaitsDatagrams;
		},
		stop() {
			stopped = true;
			clearTimeout(timer);
			perform(choice.stop("another carrier was chosen"));
		},
		get dialing() {
			return preparing || choice.racing;
		},
	};
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
