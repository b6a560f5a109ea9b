import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createSluiceTransport } from "@sluice-rpc/client/connect";
import { Prices } from "./gen/prices_pb";

const transport = createSluiceTransport({ baseUrl: location.origin });
const client = createClient(Prices, transport);

const state = document.getElementById("state")!;
transport.addEventListener("state", ({ state: { phase, carrier } }) => {
	state.textContent = phase === "open" ? `live, over ${carrier}` : phase;
});
const problem = document.getElementById("problem")!;

/** createRow makes the line of a symbol, and returns what draws a price. */
function createRow(symbol: string) {
	const row = (document.getElementById("prices") as HTMLTableElement).insertRow();
	row.id = symbol;
	row.innerHTML = `<th></th><td></td><td><svg viewBox="0 0 60 10" preserveAspectRatio="none"><polyline vector-effect="non-scaling-stroke"/></svg></td>`;
	row.querySelector("th")!.textContent = symbol;
	const last: number[] = [];
	return (price: number) => {
		last.push(price);
		if (last.length > 60) last.shift();
		const [low, high] = [Math.min(...last), Math.max(...last)];
		const points = last.map((p, i) => `${i},${9 - (8 * (p - low)) / (high - low || 1)}`);
		row.querySelector("td")!.textContent = price.toFixed(2);
		row.querySelector("polyline")!.setAttribute("points", points.join(" "));
	};
}

const rows = new Map<string, (price: number) => void>();

/** watch draws prices as long as there are any. */
async function watch() {
	for await (const { symbol, price } of client.watch({ symbols: ["ABC", "DEF", "GHI"] })) {
		let draw = rows.get(symbol);
		if (!draw) rows.set(symbol, (draw = createRow(symbol)));
		draw(price);
		problem.textContent = "";
	}
}

// A lost connection is none of our business: the call goes on with the next one. A server that was started again knows nothing of
// the call, so that is UNAVAILABLE, and one asks again.
for (;;) {
	try {
		await watch();
		break;
	} catch (err) {
		const { code, message } = ConnectError.from(err);
		problem.textContent = message;
		if (code !== Code.Unavailable) break;
		await new Promise((resolve) => setTimeout(resolve, 1000));
	}
}
