// What the page says on a call, one after another.

/** A Queue is what a generated client takes as the messages of a stream. */
export interface Queue<T> extends AsyncIterable<T> {
	push(item: T): void;
	/** end half-closes the call, after all items. */
	end(): void;
}

/** createQueue makes a queue that one call reads. */
export function createQueue<T>(): Queue<T> {
	const items: T[] = [];
	let ended = false;
	let wake = () => {};
	return {
		push(item) {
			items.push(item);
			wake();
		},
		end() {
			ended = true;
			wake();
		},
		async *[Symbol.asyncIterator]() {
			for (;;) {
				while (items.length > 0) yield items.shift() as T;
				if (ended) return;
				await new Promise<void>((resolve) => (wake = resolve));
			}
		},
	};
}
