// A unary call.

import { ConnectError } from "@connectrpc/connect";
import { type Connection, titleOf } from "../connection.js";
import { element, make, milliseconds } from "../dom.js";

const timeoutMs = 10_000;

/** startUnary wires the form. */
export function startUnary({ client, transport }: Connection): void {
	element("unary-form").addEventListener("submit", async (event) => {
		event.preventDefault();
		const answer = element("unary-answer");
		const began = performance.now();
		try {
			const { text } = await client.echo({ text: element<HTMLInputElement>("unary-text").value }, { timeoutMs });
			const how = titleOf(transport.state.carrier ?? "");
			const after = milliseconds(performance.now() - began);
			answer.replaceChildren(make("b", "", text), ` after ${after}${how && `, over ${how}`}`);
		} catch (err) {
			answer.textContent = ConnectError.from(err).message;
		}
	});
}
