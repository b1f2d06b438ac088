"use strict";
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const one = (selector, inside = document) => inside.querySelector(selector);
  const data = JSON.parse(one("#data").textContent);
  const make = (name, kind, text) => {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text; // a photo's name is text, whatever is in it
    return element;
  };
  const options = (select, pairs) => {
    const kept = select.value;
    select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
    if (pairs.some(([value]) => value === kept)) select.value = kept;
  };
  const shown = (value, metric) =>
    typeof value === "number" ? value.toFixed(data.metrics[metric].decimals).replace("-", "−") : "–";

  // ---- light and dark
  const root = document.documentElement, theme = one(".theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const named = () => { theme.textContent = dark() ? "light" : "dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; named(); });
  named();

  // ---- tables that sort
  for (const button of all(".figures thead button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
      const first = head.dataset.better === "higher" ? "descending" : "ascending"; // the best on top
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      for (const each of all("thead th", table)) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = all("tbody tr", table).map((row) => [row.cells[column].dataset.value ?? "", row]);
      const numbers = head.dataset.better !== undefined;
      rows.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === ""); // nothing measured: at the end, either way
        return sign * (numbers ? a - b : a.localeCompare(b));
      });
      one("tbody", table).append(...rows.map(([, row]) => row));
    });
  }

  // ---- one condition at a time
  let condition = data.conditions[0];
  const chooser = one("#condition");
  const heard = [];
  const choose = () => {
    for (const each of all("[data-condition]")) each.hidden = each.dataset.condition !== condition;
    for (const each of heard) each();
  };
  if (chooser) {
    chooser.closest("label").hidden = false;
    chooser.addEventListener("change", () => { condition = chooser.value; choose(); });
    condition = chooser.value;
  }
  const views = one("#overview");
  if (views) {
    const show = () => { for (const each of all("[data-overview]")) each.hidden = each.dataset.overview !== views.value; };
    views.closest(".picks").hidden = false;
    views.addEventListener("change", show);
    show();
  }

  // ---- one method at a time
  let held = null;
  const only = (colour) => {
    if (colour === null) delete document.body.dataset.only; else document.body.dataset.only = colour;
  };
  for (const button of all(".legend button")) {
    const colour = button.dataset.colour;
    button.addEventListener("mouseenter", () => only(colour));
    button.addEventListener("mouseleave", () => only(held));
    button.addEventListener("click", () => {
      held = held === colour ? null : colour;
      only(held);
      for (const each of all(".legend button")) each.setAttribute("aria-pressed", String(each.dataset.colour === held));
    });
  }

  // ---- pictures: every one is in the page once, in the sheets, and is found there
  const found = new Map(), spot = (image) => JSON.stringify([+image.dataset.photo, image.dataset.method, image.dataset.at]);
  for (const image of all(".sheet img[src]")) found.set(spot(image), image);
  for (const image of all(".sheet img:not([src])")) image.src = found.get(spot(image))?.src ?? "";
  const picture = (photo, method, at) => data.alone && method !== data.source && at in data.alone && !data.columns.includes(method)
    ? found.get(JSON.stringify([photo, data.alone[at], ""]))
    : found.get(JSON.stringify([photo, method, at])) ?? found.get(JSON.stringify([photo, method, ""]));

  const viewer = one(".viewer");
  let look = () => {};
  if (viewer && found.size) {
    viewer.hidden = false;
    const stage = one(".stage", viewer), photos = one("#photo"), left = one("#left"), right = one("#right");
    const fill = () => {
      const here = [...found.values()].filter((image) => [condition, ""].includes(image.dataset.at));
      const indices = [...new Set(here.map((image) => +image.dataset.photo))].sort((a, b) => a - b);
      const methods = [...new Set(here.map((image) => image.dataset.method))];
      const order = [data.source, ...data.columns.filter((name) => methods.includes(name))];
      viewer.hidden = order.length < 2;
      options(photos, indices.map((index) => [String(index), data.photos[index]]));
      for (const side of [left, right]) options(side, order.map((name) => [name, name]));
      draw();
    };
    const draw = () => {
      const photo = +photos.value;
      one(".photo", viewer).textContent = data.photos[photo] ?? "";
      for (const [side, kind] of [[left, "before"], [right, "after"]]) {
        const image = one("." + kind, stage), from = picture(photo, side.value, condition);
        image.hidden = !from;
        if (from) {
          image.src = from.src;
          if (from.naturalWidth) stage.style.setProperty("--aspect", `${from.naturalWidth} / ${from.naturalHeight}`);
        }
        image.alt = side.value;
        one(kind === "before" ? ".tag.left" : ".tag.right", stage).textContent = side.value;
      }
      const here = data.shown[data.alone ? "" : condition]?.[photo] ?? {}, names = data.columns.filter((name) => name in here);
      const looked = (name) => [left.value, right.value].includes(name) ? "looked" : "";
      const head = make("tr"), body = make("tbody");
      head.append(make("th", ""), ...names.map((name) => make("th", looked(name), name)));
      data.metrics.forEach((metric, index) => {
        if (!names.some((name) => typeof here[name][index] === "number")) return;
        const row = make("tr");
        row.append(make("th", "", metric.title), ...names.map((name) => make("td", looked(name), shown(here[name][index], index))));
        body.append(row);
      });
      const thead = make("thead");
      thead.append(head);
      one("table", viewer).replaceChildren(...(names.length ? [thead, body] : []));
      for (const row of all(".sheet tr.chosen")) row.classList.remove("chosen");
      for (const image of all(`.sheet img[data-photo="${photo}"]`)) image.closest("tr").classList.add("chosen");
    };
    one("input", stage).addEventListener("input", (event) => stage.style.setProperty("--cut", event.target.value + "%"));
    for (const select of [photos, left, right]) select.addEventListener("change", draw);
    heard.push(fill);
    look = (photo, method, moved = true) => {
      photos.value = String(photo);
      if (method !== data.source) right.value = method;
      draw();
      if (moved) viewer.scrollIntoView({ block: "center" });
    };
    fill();
    left.value = data.source;
    const there = (name) => picture(+photos.value, name, condition);
    right.value = data.first && there(data.first) ? data.first : data.columns.find(there) ?? data.source;
    draw();
    for (const image of all(".sheet img")) {
      image.closest("button").addEventListener("click", () => look(+image.dataset.photo, image.dataset.method));
    }
  }

  // ---- the worst and the best ten
  const ends = one("#ends");
  if (ends) {
    const metric = one("#ends-metric"), method = one("#ends-method");
    options(metric, data.metrics.map((each, index) => [String(index), each.title]));
    const list = (pairs, place) => {
      const made = pairs.map(([photo, value]) => {
        const item = make("li"), from = picture(photo, method.value, condition);
        const tile = make(from ? "button" : "div", "tile");
        if (from) {
          const image = make("img");
          image.src = from.src;
          image.alt = "";
          tile.append(image);
          tile.title = "look at " + data.photos[photo];
          tile.addEventListener("click", () => look(photo, from.dataset.method));
        }
        const name = make("div", "photo", data.photos[photo].split("/").pop());
        name.title = data.photos[photo];
        item.append(tile, make("div", "value", shown(value, +metric.value)), name);
        return item;
      });
      place.replaceChildren(...(made.length ? made : [make("li", "muted", "nothing was measured")]));
    };
    const draw = () => {
      const chosen = data.ends[condition]?.[metric.value]?.[method.value] ?? [[], []];
      list(chosen[0], one("#worst"));
      list(chosen[1], one("#best"));
    };
    const fill = () => {
      const there = data.ends[condition] ?? {};
      options(metric, data.metrics.map((each, index) => [String(index), each.title]).filter(([index]) => index in there));
      options(method, data.methods.filter((name) => Object.values(there).some((each) => name in each)).map((name) => [name, name]));
      draw();
    };
    heard.push(fill);
    for (const select of [metric, method]) select.addEventListener("change", draw);
    ends.hidden = false;
  }
  choose();
})();
