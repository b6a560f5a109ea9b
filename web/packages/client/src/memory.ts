// Which carrier was best lately, for the next page.

/** So long it is remembered: networks change. */
export const rememberedMs = 1_800_000;

/** A Memory remembers for one gateway. */
export interface Memory {
	/** What was best lately. */
	readonly carrier: string | undefined;
	remember(carrier: string): void;
}

/** createMemory uses the page's localStorage, where there is one and it may be used. Else it remembers nothing. */
export function createMemory(origin: string, storage = pageStorage(), now = Date.now): Memory {
	const key = `sluice ${origin}`;
	return {
		get carrier() {
			try {
				const { carrier, until } = JSON.parse(storage?.getItem(key) ?? "{}") as Record<string, unknown>;
				// A clock that was set back must not make it last.
				const good = typeof until === "number" && until > now() && until <= now() + rememberedMs;
				return good && typeof carrier === "string" ? carrier : undefined;
			} catch {
				return undefined;
			}
		},
		remember(carrier) {
			try {
				storage?.setItem(key, JSON.stringify({ carrier, until: now() + rememberedMs }));
			} catch {
				// it is full, or forbidden
			}
		},
	};
}

/** pageStorage is that of pages only: Node warns whoever looks at its own. */
function pageStorage(): Pick<Storage, "getItem" | "setItem"> | undefined {
	try {
		return typeof document === "undefined" ? undefined : localStorage;
	} catch {
		return undefined; // the page has no origin, or the user forbids it
	}
}
