// Which carrier a session uses, and when it goes to another one. No I/O and no clock: whoever owns the connections tells what
// happens and when, and is told what to do.
//
// A race makes the first connection: one candidate starts at once, eager ones beside it, others after a while or as soon as one
// has failed. The first whose ping is answered wins. Later the session moves only to what is clearly better, and seldom.

/** A Candidate is a carrier that may be chosen. */
export interface Candidate {
	readonly name: string;
	/** Whether it starts beside the first one, and not only after it. */
	readonly eager: boolean;
	/** Whether it has datagrams. */
	readonly datagrams: boolean;
}

/** A Step is something to do. The candidate is an index. */
export type Step =
	/** Open a connection, measure a round trip on it, tell answered or failed. */
	| { readonly do: "start"; readonly candidate: number }
	/** Close the connection that was started. */
	| { readonly do: "stop"; readonly candidate: number; readonly reason: string }
	/** Measure round trips on it and on the session's connection, tell compared. */
	| { readonly do: "compare"; readonly candidate: number }
	/** From now on it is the session's connection. */
	| { readonly do: "win"; readonly candidate: number }
	/** Nothing works. */
	| { readonly do: "fail"; readonly reason: string };

/** A Choice is told what happens, and returns what to do. */
export interface Choice {
	/** race begins, because there is no connection. */
	race(now: number): Step[];
	/** answered says that a connection that was started has answered its first ping. */
	answered(candidate: number, now: number): Step[];
	/** compared tells the best round trips of a candidate and of the session's connection. */
	compared(candidate: number, ms: number, currentMs: number, now: number): Step[];
	/** failed says that a connection that was started is no more. */
	failed(candidate: number, reason: string, now: number): Step[];
	/** left says that the session's connection is no more. By itself means that nobody wanted it so. */
	left(byItself: boolean, now: number): void;
	/** avoid says that a candidate is not for this browser, or not at this gateway. It is tried when nothing else works. */
	avoid(candidate: number, reason: string, now: number): Step[];
	/** datagrams says that a call wants them. */
	datagrams(now: number): Step[];
	/** tick lets time pass. Busy says whether there are calls. */
	tick(busy: boolean, now: number): Step[];
	/** stop gives up whatever was started. */
	stop(reason: string): Step[];
	/** When tick is due. */
	readonly due: number | undefined;
	/** Whether a connection for datagrams is being made, for which it is worth to wait. */
	readonly awaitsDatagrams: boolean;
	/** Whether there is a race. */
	readonly racing: boolean;
}

/** What was remembered starts so long before eager ones. */
export const headStartMs = 500;
/** Each one that is not eager starts so long after the one before it. */
export const staggerMs = 2000;
/** Those that were beaten have so long to show that they are better. */
export const rivalMs = 1000;
/** A connection that is lost sooner counts as a failure of its carrier. */
export const briefMs = 60_000;
/** After so many failures a carrier is tried last, for so long, after which a failure is forgotten too. */
export const failureLimit = 2;
export const demotedMs = 600_000;
/** Clearly better is a round trip of at most this part of the other, and shorter by so much. */
export const betterPart = 0.7;
export const betterMs = 10;
/** The time between two moves. It doubles each time, and so does the time between two looks at another carrier. */
export const firstPauseMs = 60_000;
/** What is not eager is a makeshift: others are looked at soon. */
export const makeshiftPauseMs = 5000;
export const lastPauseMs = 3_600_000;

interface Entry extends Candidate {
	started: boolean;
	/** Failures, when the last one was, and those of this race. */
	failures: number;
	failedAt: number;
	raced: number;
	demotedUntil: number;
	avoided: string | undefined;
	reason: string;
}

/** createChoice chooses. Remembered is the name of what was best lately. */
export function createChoice(candidates: readonly Candidate[], remembered?: string): Choice {
	const entries: Entry[] = candidates.map((c) => ({
		...c,
		started: false,
		failures: 0,
		failedAt: Number.NEGATIVE_INFINITY,
		raced: 0,
		demotedUntil: 0,
		avoided: undefined,
		reason: "",
	}));
	let first = remembered;
	let queue: { candidate: number; at: number }[] = []; // not started, of this race
	let racing = false;
	let current: number | undefined;
	let since = 0; // current
	let rivalsUntil: number | undefined;
	let wanted: number | undefined; // for datagrams
	let pinned = false; // by calls with datagrams
	let movedAt = Number.NEGATIVE_INFINITY;
	let movePauseMs = firstPauseMs;
	let lookAt: number | undefined;
	let lookPauseMs = firstPauseMs;
	let looked = 0;

	const at = (candidate: number) => entries[candidate] as Entry;
	const demoted = (e: Entry, now: number) => e.demotedUntil > now;
	const usable = (e: Entry, now: number) => e.avoided === undefined && !demoted(e, now);

	const start = (candidate: number): Step => {
		at(candidate).started = true;
		return { do: "start", candidate };
	};

	const stopIf = (which: (e: Entry, candidate: number) => boolean, reason: string): Step[] => {
		const steps: Step[] = [];
		for (const [candidate, e] of entries.entries()) {
			if (!e.started || !which(e, candidate)) continue;
			e.started = false;
			if (wanted === candidate) wanted = undefined;
			steps.push({ do: "stop", candidate, reason });
		}
		return steps;
	};

	/** rank is the order of a race: what works, what has failed too often, what is to be avoided. */
	const rank = (e: Entry, now: number) => {
		if (e.avoided !== undefined) return 3;
		if (demoted(e, now)) return 2;
		return e.name === first ? 0 : 1;
	};

	const race = (now: number): Step[] => {
		if (racing) return [];
		racing = true;
		const order = [...entries.keys()].sort((a, b) => rank(at(a), now) - rank(at(b), now) || a - b);
		const best = order[0];
		const eagerAt = now + (best !== undefined && at(best).name === first ? headStartMs : 0);
		let later = now;
		queue = [];
		for (const candidate of order) {
			const e = at(candidate);
			e.raced = 0;
			e.reason = "";
			if (candidate === best) queue.push({ candidate, at: now });
			else if (e.eager && usable(e, now)) queue.push({ candidate, at: eagerAt });
			else queue.push({ candidate, at: (later += staggerMs) });
		}
		return begin(now);
	};

	/** begin starts what is due. */
	const begin = (now: number): Step[] => {
		const due = queue.filter((q) => q.at <= now);
		queue = queue.filter((q) => q.at > now);
		return due.filter((q) => !at(q.candidate).started).map((q) => start(q.candidate));
	};

	/** hasten starts what is next, because something has failed. */
	const hasten = (now: number): Step[] => {
		const soonest = Math.min(...queue.map((q) => q.at));
		const next = queue.find((q) => q.at === soonest);
		if (next) queue = queue.map((q) => (q === next ? { ...q, at: now } : q));
		return begin(now);
	};

	const win = (candidate: number, now: number): Step[] => {
		const e = at(candidate);
		e.started = false;
		first = e.name;
		if (current !== undefined) {
			movedAt = now;
			pinned = false;
		}
		racing = false;
		queue = [];
		current = candidate;
		since = now;
		if (wanted === candidate) {
			wanted = undefined;
			pinned = true;
		}
		lookAt = entries.length > 1 ? now + (e.eager ? lookPauseMs : makeshiftPauseMs) : undefined;
		// A network or a gateway that comes back refuses whoever asks first: what failed now gets one more look.
		for (const x of entries) if (!e.eager && x.raced > 0 && x.failures === failureLimit) x.demotedUntil = 0;
		rivalsUntil = now + rivalMs;
		const missing = wanted !== undefined && !at(wanted).started ? [start(wanted)] : [];
		return [{ do: "win", candidate }, ...missing];
	};

	const blame = (e: Entry, now: number) => {
		e.failures = now - e.failedAt > demotedMs ? 1 : e.failures + 1;
		e.failedAt = now;
		if (e.failures >= failureLimit) e.demotedUntil = now + demotedMs;
	};

	const pauseIsOver = (now: number) => now - movedAt >= movePauseMs;

	return {
		race,
		answered(candidate, now) {
			const e = at(candidate);
			if (!e.started) return [];
			if (current === undefined) return win(candidate, now);
			if (wanted === candidate) return win(candidate, now);
			return [{ do: "compare", candidate }];
		},
		compared(candidate, ms, currentMs, now) {
			const e = at(candidate);
			if (!e.started) return [];
			if (current === undefined) return win(candidate, now);
			const makeshift = e.eager && !at(current).eager; // which is left for what is no worse
			const better = makeshift
				? ms <= currentMs / betterPart + betterMs
				: ms <= currentMs * betterPart && currentMs - ms >= betterMs;
			if (!better || pinned || !pauseIsOver(now)) return stopIf((x) => x === e, "another carrier is as good");
			if (movedAt > Number.NEGATIVE_INFINITY) movePauseMs = Math.min(2 * movePauseMs, lastPauseMs);
			lookPauseMs = firstPauseMs;
			return [...win(candidate, now), ...stopIf(() => true, "another carrier is better")];
		},
		failed(candidate, reason, now) {
			const e = at(candidate);
			if (!e.started) return [];
			e.started = false;
			e.reason = reason;
			if (wanted === candidate) wanted = undefined;
			blame(e, now);
			if (!racing) return [];
			e.raced++;
			if (queue.length > 0) return hasten(now);
			if (entries.some((x) => x.started)) return [];
			racing = false;
			// Nothing works: that is the network, and says nothing about carriers.
			for (const x of entries) {
				x.failures = Math.max(0, x.failures - x.raced);
				if (x.failures < failureLimit) x.demotedUntil = 0;
			}
			return [{ do: "fail", reason: entries.flatMap((x) => x.reason || []).join("; ") }];
		},
		left(byItself, now) {
			const e = current === undefined ? undefined : at(current);
			current = undefined;
			pinned = false;
			lookAt = rivalsUntil = undefined;
			if (!e || !byItself) return;
			if (now - since >= briefMs) e.failures = 0;
			else {
				blame(e, now);
				first = undefined;
			}
		},
		avoid(candidate, reason, now) {
			const e = at(candidate);
			e.avoided = reason;
			const steps = stopIf((x) => x === e, reason);
			if (steps.length === 0 && !queue.some((q) => q.candidate === candidate)) return steps;
			if (!racing) return steps;
			queue = queue.filter((q) => q.candidate !== candidate);
			queue.push({ candidate, at: Math.max(now, ...queue.map((q) => q.at)) + staggerMs });
			return entries.some((x) => x.started) ? steps : [...steps, ...hasten(now)];
		},
		datagrams(now) {
			if (wanted !== undefined) return [];
			if (current !== undefined && at(current).datagrams) return [];
			const candidate = entries.findIndex((e) => e.datagrams && usable(e, now) && now - e.failedAt > firstPauseMs);
			if (candidate < 0) return [];
			wanted = candidate;
			if (at(candidate).started || (current === undefined && !racing)) return [];
			queue = queue.filter((q) => q.candidate !== candidate);
			return [start(candidate)];
		},
		tick(busy, now) {
			const steps = begin(now);
			if (rivalsUntil !== undefined && now >= rivalsUntil) {
				rivalsUntil = undefined;
				steps.push(...stopIf((_, candidate) => candidate !== wanted, "another carrier was faster"));
			}
			if (lookAt !== undefined && now >= lookAt) {
				lookAt = now + lookPauseMs;
				lookPauseMs = Math.min(2 * lookPauseMs, lastPauseMs);
				const others = [...entries.keys()].filter((n) => n !== current && !at(n).started && usable(at(n), now));
				const next = others[looked++ % Math.max(1, others.length)];
				if (busy && !pinned && pauseIsOver(now) && next !== undefined) steps.push(start(next));
			}
			return steps;
		},
		stop(reason) {
			racing = false;
			queue = [];
			rivalsUntil = wanted = undefined;
			return stopIf(() => true, reason);
		},
		get due() {
			const times = queue.map((q) => q.at);
			if (rivalsUntil !== undefined) times.push(rivalsUntil);
			if (lookAt !== undefined) times.push(lookAt);
			return times.length > 0 ? Math.min(...times) : undefined;
		},
		get awaitsDatagrams() {
			return wanted !== undefined;
		},
		get racing() {
			return racing;
		},
	};
}
