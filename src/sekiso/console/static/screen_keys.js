// Which key of a keyboard types a character: by the position of the key, so that the layout of the machine counts.

export const ENTER = { keysym: 0xff0d, code: "Enter", shifted: false };
export const SHIFT = { keysym: 0xffe1, code: "ShiftLeft" };

const LETTERS = [..."abcdefghijklmnopqrstuvwxyz"].map((letter) => [`Key${letter.toUpperCase()}`, letter, letter.toUpperCase()]);
const digits = (shifted) => [..."1234567890"].map((digit, index) => [`Digit${digit}`, digit, shifted[index]]);

// Each: the key, what it types, what it types with Shift.
const KEYS = {
  us: [
    ...LETTERS,
    ...digits("!@#$%^&*()"),
    ["Backquote", "`", "~"], ["Minus", "-", "_"], ["Equal", "=", "+"],
    ["BracketLeft", "[", "{"], ["BracketRight", "]", "}"], ["Backslash", "\\", "|"],
    ["Semicolon", ";", ":"], ["Quote", "'", '"'],
    ["Comma", ",", "<"], ["Period", ".", ">"], ["Slash", "/", "?"],
  ],
  jp: [
    ...LETTERS,
    ...digits("!\"#$%&'()"),
    ["Minus", "-", "="], ["Equal", "^", "~"], ["IntlYen", "¥", "|"],
    ["BracketLeft", "@", "`"], ["BracketRight", "[", "{"], ["Backslash", "]", "}"],
    ["Semicolon", ";", "+"], ["Quote", ":", "*"],
    ["Comma", ",", "<"], ["Period", ".", ">"], ["Slash", "/", "?"], ["IntlRo", "\\", "_"],
  ],
};

function table(keys) {
  const found = new Map([[" ", { keysym: 0x20, code: "Space", shifted: false }], ["\t", { keysym: 0xff09, code: "Tab", shifted: false }]]);
  for (const [code, plain, shifted] of keys) {
    // Latin-1 characters are their own keysyms.
    found.set(plain, { keysym: plain.codePointAt(0), code, shifted: false });
    if (shifted) found.set(shifted, { keysym: shifted.codePointAt(0), code, shifted: true });
  }
  return found;
}

const TABLES = { us: table(KEYS.us), jp: table(KEYS.jp) };

// Returns the key that types a character; undefined if none does.
export const keyOf = (char, layout) => TABLES[layout].get(char);
