// Why no carrier works: no network, a page that may not, or something on the way.

/** So long an answer may take. */
const answerMs = 4000;

/** explain asks the gateway for the smallest thing that it has, and says what that tells. */
export async function explain(endpoint: URL, reason: string, fetch = globalThis.fetch): Promise<string> {
	const { navigator, location } = globalThis as { navigator?: { onLine?: boolean }; location?: { origin: string } };
	const url = new URL("/.well-known/sluice", endpoint);
	const answers = async (mode: RequestMode) => {
		try {
			await fetch(url, { mode, cache: "no-store", signal: AbortSignal.timeout(answerMs) });
			return true;
		} catch {
			return false;
		}
	};
	if (await answers("cors")) return `${endpoint.origin} answers, but no carrier gets through: ${reason}`;
	if (location && location.origin !== endpoint.origin && (await answers("no-cors"))) {
		return `${endpoint.origin} answers, but not to pages of ${location.origin}: let the gateway allow that origin (${reason})`;
	}
	if (navigator?.onLine === false) return `there is no network: ${reason}`;
	const untrusted = endpoint.protocol === "https:" ? ", or its certificate is not trusted" : "";
	return `${endpoint.origin} does not answer: there is no network, or no gateway${untrusted}: ${reason}`;
}
