import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
	plugins: [react()],
	// For `npm run dev`, beside `npm start`: the page comes from Vite, and its calls go to the gateway.
	server: {
		proxy: {
			"/sluice": { target: "http://localhost:8080", ws: true },
			"/.well-known/sluice": "http://localhost:8080",
			"/chat.v1.Chat": "http://localhost:8080",
		},
	},
});
