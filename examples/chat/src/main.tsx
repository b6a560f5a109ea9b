import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { useRoom } from "./room";

function Room() {
	const { lines, problem, say } = useRoom();
	const [name, setName] = useState("Ann");
	const [text, setText] = useState("");
	return (
		<main>
			<h1>Chat</h1>
			<ul>
				{lines.map((line, i) => (
					<li key={i}>
						<b>{line.name}</b> {line.text}
					</li>
				))}
			</ul>
			<form
				onSubmit={(event) => {
					event.preventDefault();
					say(name, text);
					setText("");
				}}
			>
				<input aria-label="Your name" value={name} onChange={(event) => setName(event.target.value)} />
				<input aria-label="Message" value={text} onChange={(event) => setText(event.target.value)} autoFocus />
				<button>Send</button>
			</form>
			<p role="status">{problem}</p>
		</main>
	);
}

createRoot(document.getElementById("root")!).render(
	<StrictMode>
		<Room />
	</StrictMode>,
);
