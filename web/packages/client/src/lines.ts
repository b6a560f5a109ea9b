// Lines of bytes that come in pieces, cut anywhere.

import { tooLarge } from "./stream-error.js";

/** Lines finds lines in what it is fed. */
export interface Lines {
	/** feed yields the lines that end in b, without their ends. All are to be taken before more is fed. */
	feed(b: Uint8Array): Iterable<string>;
	/** How many bytes the line had that was yielded last. */
	readonly size: number;
	/** How many bytes there are of a line that has not ended. */
	readonly rest: number;
}

const lf = 10;
const cr = 13;

/** A buffer that was larger is not kept for the next line. */
const keptBytes = 65_536;

/** utf8 replaces what is none, as the decoder of the Encoding Standard does; a byte order mark is left to us. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * createLines makes a finder of lines of at most max bytes, a limit of that name. They end with LF, and where endings is "any" with CR
 * or CR LF too (HTML, section 9.2.5). A line ends with its CR: nothing waits for the LF that may follow.
 */
export function createLines(max: number, name: string, endings: "lf" | "any"): Lines {
	let kept = new Uint8Array(0); // its first bytes are those of a line that has not ended
	let rest = 0;
	let size = 0;
	let first = true;
	let afterCR = false;

	const check = (n: number) => {
		if (n > max) throw tooLarge("a line", name, max);
	};

	/** keep adds to the line. The buffer doubles, so that pieces of a byte cost no more than large ones. */
	const keep = (b: Uint8Array) => {
		check(rest + b.length);
		if (rest + b.length > kept.length) {
			const larger = new Uint8Array(Math.max(rest + b.length, 2 * kept.length));
			larger.set(kept.subarray(0, rest));
			kept = larger;
		}
		kept.set(b, rest);
		rest += b.length;
	};

	const take = (last: Uint8Array): string => {
		let whole = last;
		if (rest > 0) {
			keep(last);
			whole = kept.subarray(0, rest);
		}
		check(whole.length);
		const text = utf8.decode(whole);
		size = whole.length;
		rest = 0;
		if (kept.length > keptBytes) kept = new Uint8Array(0);
		const marked = first && text.startsWith("\ufeff"); // HTML, section 9.2.6
		first = false;
		return marked ? text.slice(1) : text;
	};

	const find = (b: Uint8Array, what: number, from: number) => {
		const i = b.indexOf(what, from);
		return i < 0 ? b.length : i;
	};

	return {
		get size() {
			return size;
		},
		get rest() {
			return rest;
		},
		*feed(b) {
			if (b.length === 0) return;
			let at = afterCR && b[0] === lf ? 1 : 0;
			afterCR = false;
			let nextLF = -1;
			let nextCR = endings === "any" ? -1 : b.length;
			for (;;) {
				if (nextLF < at) nextLF = find(b, lf, at);
				if (nextCR < at) nextCR = find(b, cr, at);
				const end = Math.min(nextLF, nextCR);
				if (end === b.length) break;
				const line = take(b.subarray(at, end));
				at = end + 1;
				if (nextCR === end) {
					if (at === b.length) afterCR = true;
					else if (b[at] === lf) at++;
				}
				yield line;
			}
			if (at < b.length) keep(b.subarray(at));
		},
	};
}
