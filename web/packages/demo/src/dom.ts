// The little that is needed of the page's elements.

/** element finds the element that index.html has. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
	const found = document.getElementById(id);
	if (!found) throw new Error(`index.html has no #${id}`);
	return found as T;
}

/** make makes an element with a class, and what is in it. */
export function make<K extends keyof HTMLElementTagNameMap>(
	tag: K,
	className = "",
	...inside: (Node | string)[]
): HTMLElementTagNameMap[K] {
	const made = document.createElement(tag);
	if (className) made.className = className;
	made.append(...inside);
	return made;
}

/** follow appends to a list that is bounded, and shows its end to who has not scrolled up. */
export function follow(list: HTMLElement, most: number, ...items: Node[]): void {
	const atEnd = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
	list.append(...items);
	while (list.childElementCount > most) list.firstElementChild?.remove();
	if (atEnd) list.scrollTop = list.scrollHeight;
}

/** milliseconds writes a time for people. */
export function milliseconds(ms: number): string {
	if (ms < 9.95) return `${ms.toFixed(1)} ms`;
	return ms < 9999.5 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** reasonOf says what is wrong. */
export function reasonOf(err: unknown): string {
	return err instanceof Error ? err.message : String(err);
}
