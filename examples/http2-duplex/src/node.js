// What streams of Node take for granted.
import process from "process/browser.js";

globalThis.process = process;
