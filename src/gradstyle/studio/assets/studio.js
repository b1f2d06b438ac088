// The parts of the page that Gradio has no component for. No library, no network.
window.GradStyle = (() => {
  const seen = { before: null, after: null, view: "face" };
  let render_codes = () => {};

  function stage(element, props, trigger, watch) {
    const find = (name) => element.querySelector(name);
    const pair = find(".gs-pair"), divider = find(".gs-divider"), canvas = find(".gs-canvas");
    const images = { before: find(".gs-before"), after: find(".gs-after") };

    const split = () => {
      pair.style.setProperty("--split", `${divider.value}%`);
      divider.setAttribute("aria-valuetext", `${divider.value} % before`);
    };
    divider.addEventListener("input", split);
    split();

    render_codes = () => {
      const { before, after, view } = seen;
      for (const button of element.querySelectorAll("[data-view]"))
        button.setAttribute("aria-pressed", String(button.dataset.view === view));
      if (!before || !after || before.photo !== after.photo || before.face !== after.face) return;
      const whole = view === "whole";
      const one = whole ? "The whole picture" : "The face";
      set(images.before, whole ? before.whole : before.before, `${one} before: ${before.name}`);
      set(images.after, whole ? after.whole : after.after, `${one} after: ${after.says}, by ${after.method}`);
      canvas.dataset.empty = "false";
      canvas.dataset.plain = String(!after.reset);
      find(".gs-says").textContent = after.says === "no edits" ? `${before.name}, ${before.size}` : after.says;
      for (const name of ["undo", "redo", "reset"]) find(`[data-do="${name}"]`).disabled = !after[name];
      faces(before, after);
      steps(after);
    };

    function faces(before, after) {
      const list = find(".gs-faces");
      list.hidden = before.faces.length < 2;
      same(list, before.faces, (uri, number) =>
        pick(uri, `Face ${number + 1} of ${before.faces.length}`, () => trigger("face", { number })));
      [...list.children].forEach((child, number) =>
        child.setAttribute("aria-pressed", String(number === after.face)));
    }

    function steps(after) {
      const list = find(".gs-steps");
      const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
      list.replaceChildren(...after.steps.map(({ number, label, thumb }) => {
        const item = document.createElement("li");
        const button = pick(thumb, `Return to ${label}`, () => trigger("step", { number }));
        button.append(Object.assign(document.createElement("span"), { textContent: label }));
        if (number === after.at) button.setAttribute("aria-current", "step");
        item.append(button);
        return item;
      }));
      if (focused >= 0) list.children[Math.min(focused, list.children.length - 1)]?.firstChild.focus();
      const current = list.querySelector("[aria-current]")?.parentElement;
      if (current) list.scrollTo({ left: current.offsetLeft - list.clientWidth / 2, behavior: "smooth" });
    }

    element.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.view) {
        seen.view = button.dataset.view;
        render_codes();
      } else if (button?.dataset.do) trigger(button.dataset.do, {});
    });
    document.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      const key = event.key.toLowerCase();
      const name = key === "y" || (key === "z" && event.shiftKey) ? "redo" : key === "z" ? "undo" : null;
      const typing = event.target.closest("textarea, [contenteditable], input:not([type=range]):not([type=radio])");
      if (!name || typing) return;
      event.preventDefault();
      if (!find(`[data-do="${name}"]`).disabled) trigger(name, {});
    });
    const take = () => {
      if (props.value) seen.after = props.value;
      render_codes();
    };
    watch("value", take);
    take();
  }

  function before(props, watch) {
    const take = () => {
      if (props.value) seen.before = props.value;
      render_codes();
    };
    watch("value", take);
    take();
  }

  function faces(element, props, trigger, watch) {
    const list = element.querySelector(".gs-made");
    element.querySelector(".gs-more").addEventListener("click", () => trigger("more", {}));
    const draw = () =>
      same(list, props.value?.faces ?? [], ({ seed, uri, says }) =>
        pick(uri, says, () => trigger("pick", { seed })));
    watch("value", draw);
    draw();
  }

  function set(image, source, words) {
    if (image.getAttribute("src") !== source) image.src = source;
    image.alt = words;
  }

  function pick(uri, words, act) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "gs-pick" });
    button.append(Object.assign(document.createElement("img"), { src: uri, alt: words, draggable: false }));
    button.addEventListener("click", act);
    return button;
  }

  function same(list, values, make) {
    const now = JSON.stringify(values);
    if (list.dataset.now === now) return;
    list.dataset.now = now;
    list.replaceChildren(...values.map(make));
  }

  // A file that the server made: the browser saves it, as from a link.
  function save(file) {
    const made = Array.isArray(file) ? file[0] : file;
    if (!made?.url) return;
    const link = Object.assign(document.createElement("a"), { href: made.url, download: made.orig_name ?? "" });
    document.body.append(link);
    link.click();
    link.remove();
  }

  function theme(button) {
    const kept = (() => { try { return localStorage.getItem("gradstyle-theme"); } catch { return null; } })();
    if (kept) document.body.classList.toggle("dark", kept === "dark");
    const say = () => {
      const dark = document.body.classList.contains("dark");
      button.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
      document.documentElement.style.colorScheme = dark ? "dark" : "light";
    };
    button.addEventListener("click", () => {
      const dark = document.body.classList.toggle("dark");
      try { localStorage.setItem("gradstyle-theme", dark ? "dark" : "light"); } catch { /* a private window */ }
      say();
    });
    say();
  }

  return { stage, before, faces, save, theme };
})();
