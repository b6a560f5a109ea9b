// The switches between the lines to copy.

import { discover } from "@sluice-rpc/client";
import { element, make } from "../dom.js";
import { type CallName, calls, type FormName, forms, type Language, languages, linesOf } from "../lines.js";

const saidMs = 1500;

/** startLines wires the switches and the button. */
export function startLines(): void {
	const chosen: { call: CallName; form: FormName; language: Language } = {
		call: "ticker",
		form: "rest",
		language: "curl",
	};
	let certificate = false; // is one that curl does not know
	const code = element("lines-code");

	const show = () => {
		const place = { origin: location.origin, private: certificate };
		const lines = linesOf(place, chosen.call, chosen.form, chosen.language);
		code.textContent = lines?.text ?? "curl speaks no WebSocket everywhere. Take JavaScript or Go.";
		element("lines-note").textContent = lines?.note ?? "";
		element<HTMLButtonElement>("lines-copy").disabled = !lines;
	};

	const fill = <K extends "call" | "form" | "language">(key: K, titles: Record<(typeof chosen)[K], string>) => {
		for (const [name, title] of Object.entries(titles) as [(typeof chosen)[K], string][]) {
			const input = make("input");
			input.type = "radio";
			input.name = `lines-${key}`;
			input.value = name;
			input.checked = chosen[key] === name;
			input.addEventListener("change", () => {
				chosen[key] = name;
				show();
			});
			element(`lines-${key}`).append(make("label", "", input, make("span", "", title)));
		}
	};
	fill("call", calls);
	fill("form", forms);
	fill("language", languages);

	const button = element("lines-copy");
	button.addEventListener("click", async () => {
		try {
			await navigator.clipboard.writeText(code.textContent ?? "");
			button.textContent = "Copied";
		} catch {
			getSelection()?.selectAllChildren(code); // the page may not write: the user can
			button.textContent = "Selected";
		}
		setTimeout(() => (button.textContent = "Copy"), saidMs);
	});

	show();
	if (location.protocol !== "https:") return;
	discover(location.origin).then(
		({ carriers }) => {
			certificate = carriers.some((c) => c.certificates.length > 0);
			show();
		},
		() => {}, // then there is none to tell of
	);
}
