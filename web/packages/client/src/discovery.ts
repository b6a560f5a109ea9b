// What a gateway says of itself: docs/protocols/discovery.md.

import type { Bytes } from "./carrier.js";

/** A DiscoveredCarrier is a carrier that the gateway has. */
export interface DiscoveredCarrier {
	/** "webtransport", "websocket" or "duplex". */
	readonly name: string;
	readonly protocol: string;
	readonly url: URL;
	/** Where tickets are given, which stand for cookies: docs/protocols/tickets.md. */
	readonly ticket?: URL;
	/** Hashes of certificates, if the gateway's is not of a public authority. */
	readonly certificates: readonly { readonly algorithm: string; readonly value: Bytes }[];
}

/** A Discovery is the gateway's answer. */
export interface Discovery {
	/** Best first. */
	readonly carriers: readonly DiscoveredCarrier[];
	/** Carriers that are not for this browser. */
	readonly avoid: readonly { readonly carrier: string; readonly reason: string }[];
}

/** A Browser is one, as far as a list of those to be avoided is concerned. */
export interface Browser {
	readonly name: "chromium" | "firefox" | "safari";
	/** As "26.4". */
	readonly version: string;
}

/**
 * discover asks a gateway for its carriers.
 *
 *     const { carriers } = await discover("https://api.example.com");
 */
export async function discover(
	baseUrl: string | URL,
	signal?: AbortSignal,
	fetch = globalThis.fetch,
): Promise<Discovery> {
	const url = new URL("/.well-known/sluice", baseUrl);
	const response = await fetch(url, signal ? { signal } : {});
	if (!response.ok) throw new Error(`discovery: ${response.status} ${(await response.text()).slice(0, 200)}`);
	const document: unknown = await response.json();
	if (!isObject(document) || document.version !== 1 || !Array.isArray(document.carriers)) {
		throw new Error("discovery: the gateway's answer is not one of version 1");
	}
	const carriers: DiscoveredCarrier[] = [];
	for (const c of document.carriers) {
		if (!isObject(c) || typeof c.name !== "string" || typeof c.url !== "string") continue;
		const certificates: DiscoveredCarrier["certificates"][number][] = [];
		for (const h of Array.isArray(c.certificates) ? c.certificates : []) {
			if (!isObject(h) || typeof h.algorithm !== "string" || typeof h.value !== "string") continue;
			const value = Uint8Array.from(atob(h.value), (x) => x.charCodeAt(0));
			certificates.push({ algorithm: h.algorithm, value });
		}
		carriers.push({
			name: c.name,
			protocol: String(c.protocol ?? ""),
			url: new URL(c.url, url),
			...(typeof c.ticket === "string" && { ticket: new URL(c.ticket, url) }),
			certificates,
		});
	}
	const agent = (globalThis as { navigator?: { userAgent?: string } }).navigator?.userAgent;
	return { carriers, avoid: avoided(document.avoid, browserOf(agent ?? "")) };
}

/**
 * browserOf reads who a browser says that it is. On iOS all are WebKit, and some say a version of their own: what counts is that of
 * the system, which is WebKit's.
 */
export function browserOf(agent: string): Browser | undefined {
	const ios = /\b(?:iPhone|iPad|iPod)\b.*? OS (\d+(?:_\d+)*)/.exec(agent)?.[1]?.replaceAll("_", ".");
	const safari = /\bVersion\/(\d+(?:\.\d+)*).* Safari\//.exec(agent)?.[1] ?? ios;
	const firefox = /\bFirefox\/(\d+(?:\.\d+)*)/.exec(agent)?.[1];
	const chromium = /\bChrom(?:e|ium)\/(\d+(?:\.\d+)*)/.exec(agent)?.[1];
	if (firefox) return { name: "firefox", version: firefox };
	if (chromium) return { name: "chromium", version: chromium };
	return safari ? { name: "safari", version: safari } : undefined;
}

/** avoided returns the entries of a list that are about a browser. */
export function avoided(list: unknown, browser: Browser | undefined): Discovery["avoid"] {
	const found: { carrier: string; reason: string }[] = [];
	if (!Array.isArray(list) || !browser) return found;
	for (const entry of list) {
		if (!isObject(entry) || typeof entry.carrier !== "string" || entry.browser !== browser.name) continue;
		const { from, below, reason } = entry;
		if (typeof from === "string" && compare(browser.version, from) < 0) continue;
		if (typeof below === "string" && compare(browser.version, below) >= 0) continue;
		found.push({ carrier: entry.carrier, reason: typeof reason === "string" ? reason : "the gateway says so" });
	}
	return found;
}

/** compare compares versions number by number. */
function compare(a: string, b: string): number {
	const [x, y] = [a, b].map((v) => v.split(".").map(Number)) as [number[], number[]];
	for (let i = 0; i < Math.max(x.length, y.length); i++) {
		const d = (x[i] ?? 0) - (y[i] ?? 0);
		if (d !== 0) return d;
	}
	return 0;
}

function isObject(v: unknown): v is Record<string, unknown> {
	return typeof v === "object" && v !== null;
}
