"use strict";
(() => {
  const root = document.documentElement;
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const data = (name) => JSON.parse(find("#" + name).textContent);
  // Text only ever enters the page as text.
  const make = (tag, className, ...children) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  };
  root.classList.add("on");

  // Theme: the system's, light or dark; remembered where the browser allows it.
  const theme = find("#theme");
  const themes = ["auto", "light", "dark"];
  const remember = (value) => { try { localStorage.setItem("trivium-theme", value); } catch { /* no storage: no memory */ } };
  const remembered = () => { try { return localStorage.getItem("trivium-theme"); } catch { return null; } };
  const paint = (value) => {
    if (value === "auto") delete root.dataset.theme; else root.dataset.theme = value;
    find("span", theme).textContent = value;
  };
  paint(themes.includes(remembered()) ? remembered() : "auto");
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme ?? "auto") + 1) % themes.length];
    paint(next);
    remember(next);
  });

  // Sorting: best first, then worst first, then as it was. What has no number stays last.
  const body = find(".results tbody");
  const original = [...body.rows];
  const say = (text) => { find("#said").textContent = text; };
  for (const button of all(".results thead button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const first = button.dataset.first;
      const second = first === "ascending" ? "descending" : "ascending";
      const order = { none: first, [first]: second, [second]: "none" }[head.getAttribute("aria-sort")];
      for (const other of all(".results thead th[aria-sort]")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      const column = Number(button.dataset.column);
      const key = (row) => row.cells[column]?.dataset.value ?? "";
      const sign = order === "descending" ? -1 : 1;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (column === 0 ? x.localeCompare(y) : Number(x) - Number(y));
      };
      body.append(...(order === "none" ? original : [...original].sort(compare)));
      say(order === "none" ? "original order" : `sorted by ${button.textContent}, ${order}`);
    });
  }

  // Filtering: contenders that are switched off, or not found, leave the tables and the examples and fade in the charts.
  const { colours } = data("chart-data");
  const marks = colours.map((own) => own.flatMap((c) => all(`.chart svg [fill="${c}"], .chart svg [stroke="${c}"]`)));
  find(".find").hidden = colours.length <= 8;
  const boxes = all('input[name="contender"]');
  const search = find("#find");
  const shown = colours.map(() => true);
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    boxes.forEach((box, i) => {
      const row = original[i];
      shown[i] = box.checked && row.cells[0].textContent.toLowerCase().includes(wanted);
      for (const node of all(`[data-contender="${i}"]`)) node.hidden = !shown[i];
      for (const mark of marks[i]) mark.classList.toggle("off", !shown[i]);
    });
    say(`${shown.filter(Boolean).length} of ${shown.length} contenders shown`);
  };
  for (const box of boxes) box.addEventListener("change", filter);
  search.addEventListener("input", filter);
  find("#all").addEventListener("click", () => {
    for (const box of boxes) box.checked = true;
    search.value = "";
    filter();
  });

  // Copying the command.
  find("#copy")?.addEventListener("click", async (event) => {
    const code = find("#command");
    try {
      await navigator.clipboard.writeText(code.textContent);
      event.target.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code); // no clipboard here: select it, so that one key copies it
    }
  });

  // Examples.
  const stage = find("#stage");
  if (!stage) return;
  const { contenders, kinds, items } = data("example-data");
  const pick = { group: find("#group"), example: find("#example"), seed: find("#seed") };
  const options = (select, values) => {
    select.replaceChildren(...values.map((value) => {
      const option = new Option(value.length > 60 ? value.slice(0, 60) + "…" : value || "(none)", value);
      return option;
    }));
    select.closest("label").hidden = select !== pick.example && values.length < 2;
  };
  const unique = (values) => [...new Set(values)];
  const words = {
    accepted: "proposed by the drafter and accepted",
    drafted: "proposed by the drafter",
  };

  // An attribution arrives as a tree: texts, and [tag, attributes, styles, nodes].
  const grow = (nodes, into) => {
    for (const node of nodes) {
      if (typeof node === "string") into.append(node);
      else {
        const [tag, attributes, styles, children] = node;
        const element = document.createElement(tag);
        for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
        for (const [name, value] of Object.entries(styles)) element.style.setProperty(name, value);
        into.append(grow(children, element));
      }
    }
    return into;
  };

  const text = (spans, left) => {
    const box = make("div", "text");
    box.dir = "auto";
    for (const [kind, piece] of spans) box.append(kind === "plain" ? piece : Object.assign(make("span", kind in words ? kind : "", piece), { title: words[kind] ?? kind }));
    if (left) box.append(make("span", "aside", ` … and ${left.toLocaleString("en")} characters more`));
    return box;
  };
  // Choices token by token: the darker, the less likely. Each says its log-probability when it is pointed at.
  const chosen = (choices) => {
    const list = make("ol", "choices-of");
    for (const [right, taken, total, tokens] of choices) {
      const mark = make("span", "mark", right && taken ? "✓→" : right ? "✓" : taken ? "→" : "");
      mark.title = [right ? "the right answer" : "", taken ? "the model's answer" : ""].filter(Boolean).join(", ");
      const words = make("span", "words");
      for (const [piece, cost, shade] of tokens) words.append(Object.assign(make("span", "shade s" + shade, piece), { title: cost + " nats" }));
      list.append(make("li", taken ? "taken" : "", mark, words, make("span", "aside", total)));
    }
    return list;
  };
  const copies = (found) => {
    const box = make("details", "copies", make("summary", "", `${found.length} copies said otherwise`));
    for (const [name, piece] of found) box.append(make("p", "aside", name), text([["plain", piece]], 0));
    return box;
  };
  const marker = (i) => find(".marker", original[i]).cloneNode(true);

  // Where models are scored on given text, no contender writes any, and nothing is empty.
  const written = items.some((item) => Object.values(item.outputs).some((output) => output.spans.length || output.fragment?.length || output.choices.length));
  const shaded = items.some((item) => Object.values(item.outputs).some((output) => output.choices.length));
  const show = (item) => {
    const prompt = make("div", "prompt", make("h3", "", "prompt"), text([["plain", item.prompt]], item.left));
    const legend = make("p", "legend", ...kinds.map((kind) => make("span", "", make("span", kind in words ? kind : "", kind), " " + (words[kind] ?? ""))));
    const whole = Object.values(item.outputs).some((output) => output.fragment?.length);
    const outputs = make("div", whole ? "outputs whole" : "outputs");
    contenders.forEach((name, i) => {
      const output = item.outputs[i];
      if (!output) return;
      const card = make("article", "output", make("h3", "", marker(i), make("bdi", "", name)));
      if (output.values.length) card.append(make("p", "facts-line", output.values.map(([title, value]) => `${title} ${value}`).join(" · ")));
      if (output.error) card.append(make("p", "error", "failed: " + output.error));
      if (output.choices.length) card.append(chosen(output.choices));
      if (output.copies.length) card.append(copies(output.copies));
      if (output.fragment?.length) card.append(grow(output.fragment, make("div", "fragment")));
      else if (output.spans.length) card.append(text(output.spans, output.left));
      else if (written && !output.error && !output.choices.length) card.append(make("p", "aside", "(empty)"));
      card.dataset.contender = i;
      card.hidden = !shown[i];
      outputs.append(card);
    });
    const shades = make("p", "legend", make("span", "", "likely ", ...[0, 1, 2, 3, 4, 5].map((at) => make("span", "shade s" + at, "\u00a0\u00a0")), " unlikely"), make("span", "", "✓ right · → the model's answer"));
    stage.replaceChildren(...(item.prompt ? [prompt] : []), ...(kinds.length ? [legend] : []), ...(shaded ? [shades] : []), outputs);
  };

  const matching = () => items.filter((item) => pick.group.value === "*" || item.group === pick.group.value);
  const refresh = (level) => {
    const inside = matching();
    if (level === "group") options(pick.example, unique(inside.map((item) => item.id)));
    const same = inside.filter((item) => item.id === pick.example.value);
    if (level !== "seed") {
      const before = pick.seed.value;
      options(pick.seed, unique(same.map((item) => item.seed)));
      if (same.some((item) => item.seed === before)) pick.seed.value = before;
    }
    show(same.find((item) => item.seed === pick.seed.value) ?? same[0]);
  };
  const step = (by) => {
    const count = pick.example.options.length;
    pick.example.selectedIndex = (pick.example.selectedIndex + by + count) % count;
    refresh("example");
  };
  const groups = unique(items.map((item) => item.group));
  options(pick.group, groups);
  if (groups.length > 1) pick.group.prepend(new Option(pick.group.closest("label").textContent.startsWith("Task") ? "every task" : "every kind", "*"));
  pick.group.selectedIndex = 0;
  if (groups.length === 1) pick.group.value = groups[0];
  for (const level of ["group", "example", "seed"]) pick[level].addEventListener("change", () => refresh(level));
  find("#previous").addEventListener("click", () => step(-1));
  find("#next").addEventListener("click", () => step(1));
  stage.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") step(1); else if (event.key === "ArrowLeft") step(-1); else return;
    event.preventDefault();
  });
  refresh("group");
})();
