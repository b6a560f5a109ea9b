// What a gateway says of itself: docs/protocols/discovery.md.

import type { Bytes } from "./carrier.js";

/** A DiscoveredCarrier is a carrier that the gateway has. */
export interface DiscoveredCarrier {
	/** "webtransport", "websocket" or "duplex". */
	readonly name: string;
	readonly protocol: string;
	readonly url: URL;
	/** Hashes of certificates, if the gateway's is not of a public authority. */
	readonly certificates: readonly { readonly algorithm: string; readonly value: Bytes }[];
}

/** A Discovery is the gateway's answer. */
export interface Discovery {
	/** Best first. */
	readonly carriers: readonly DiscoveredCarrier[];
}

/**
 * discover asks a gateway for its carriers.
 *
 *     const { carriers } = await discover("https://api.example.com");
 */
export async function discover(baseUrl: string | URL, signal?: AbortSignal): Promise<Discovery> {
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
			certificates,
		});
	}
	return { carriers };
}

function isObject(v: unknown): v is Record<string, unknown> {
	return typeof v === "object" && v !== null;
}
