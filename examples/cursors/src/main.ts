import { ConnectError, createClient, createContextValues } from "@connectrpc/connect";
import { createSluiceTransport, datagrams } from "@sluice-rpc/client/connect";
import { Cursors } from "./gen/cursors_pb";

const transport = createSluiceTransport({ baseUrl: location.origin });
const client = createClient(Cursors, transport);

const state = document.getElementById("state")!;
transport.addEventListener("state", ({ state: { phase, carrier } }) => {
	state.textContent = phase === "open" ? `over ${carrier}` : phase;
});

let own = { x: 0.5, y: 0.5 };
let wake = () => {};
addEventListener("pointermove", ({ clientX, clientY }) => {
	own = { x: clientX / innerWidth, y: clientY / innerHeight };
	wake();
});

/** moves yields where one's own cursor is when it has moved, and each second: what was said may be lost. */
async function* moves() {
	for (;;) {
		const said = own;
		yield said;
		if (own === said) {
			await new Promise<void>((resolve) => {
				wake = resolve;
				setTimeout(resolve, 1000);
			});
		}
	}
}

const silentMs = 3000;
const cursors = new Map<number, { element: HTMLElement; timer?: ReturnType<typeof setTimeout> }>();

/** show moves the cursor of another page. Who is silent is gone. */
function show(id: number, x: number, y: number) {
	let cursor = cursors.get(id);
	if (!cursor) {
		const element = document.createElement("div");
		element.className = "cursor";
		element.style.background = `hsl(${(id * 137) % 360} 80% 50%)`;
		document.body.append(element);
		cursors.set(id, (cursor = { element }));
	}
	cursor.element.style.left = `${100 * x}%`;
	cursor.element.style.top = `${100 * y}%`;
	clearTimeout(cursor.timer);
	cursor.timer = setTimeout(() => {
		cursors.delete(id);
		cursor.element.remove();
	}, silentMs);
}

try {
	// Where there is no WebTransport the same messages go in order, and none is lost.
	const contextValues = createContextValues().set(datagrams, true);
	for await (const { id, x, y } of client.share(moves(), { contextValues })) show(id, x, y);
} catch (err) {
	state.textContent = ConnectError.from(err).message;
}
