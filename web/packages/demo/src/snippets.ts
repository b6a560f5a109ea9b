// What the parts of the page show of their calls. It is compiled here, and read as text: startSnippets.

import type { Client } from "@connectrpc/connect";
import type { Demo } from "./gen/demo_pb.js";

interface Here {
	readonly client: Client<typeof Demo>;
	readonly words: AsyncIterable<{ name: string; text: string }>;
	readonly keys: AsyncIterable<{ value: Uint8Array<ArrayBuffer> }>;
	readonly pieces: AsyncIterable<{ chunk: Uint8Array<ArrayBuffer> }>;
	readonly text: string;
	readonly show: (what: unknown) => void;
}

export async function chat({ client, words, show }: Here) {
	const said = client.room(words);
	for await (const m of said) show(m.text);
}

export async function keys({ client, keys, show }: Here) {
	const back = client.echoBytes(keys);
	for await (const m of back) show(m.value);
}

export async function ticker({ client, show }: Here) {
	const all = client.ticker({});
	for await (const t of all) show(t.number);
}

export async function upload({ client, pieces, show }: Here) {
	const got = await client.upload(pieces);
	show(got.sha256);
}

export async function unary({ client, text, show }: Here) {
	const answer = await client.echo({ text });
	show(answer.text);
}
