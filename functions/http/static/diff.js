// Which words of an answer are not in the reference, in order: the longest common subsequence of words.

import { h } from "./dom.js";

// The table has a cell per pair of words; longer texts are shown without marks.
const LONGEST = 600;

const split = (value) => value.split(/(\s+)/).filter((part) => part !== "");
const blank = (part) => /^\s+$/.test(part);

export function common(left, right) {
  const table = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      table[i][j] = left[i] === right[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    }
  }
  const kept = new Set();
  for (let i = 0, j = 0; i < left.length && j < right.length;) {
    if (left[i] === right[j]) {
      kept.add(i);
      i += 1;
      j += 1;
    } else if (table[i + 1][j] >= table[i][j + 1]) i += 1;
    else j += 1;
  }
  return kept;
}

// `answer` as nodes, with what `reference` does not say marked; neighbors share one mark.
export function marked(answer, reference) {
  const parts = split(answer);
  const words = parts.filter((part) => !blank(part));
  const expected = split(reference).filter((part) => !blank(part));
  if (answer === reference || !expected.length || Math.max(words.length, expected.length) > LONGEST) return [answer];
  const kept = common(words, expected);
  const nodes = [];
  let differing = "";
  let gap = "";
  let index = 0;
  for (const part of parts) {
    if (blank(part)) {
      gap += part;
    } else if (kept.has(index++)) {
      if (differing) nodes.push(h("mark", {}, differing));
      nodes.push(gap + part);
      differing = gap = "";
    } else {
      if (!differing && gap) nodes.push(gap);
      differing += differing ? gap + part : part;
      gap = "";
    }
  }
  if (differing) nodes.push(h("mark", {}, differing));
  if (gap) nodes.push(gap);
  return nodes;
}
