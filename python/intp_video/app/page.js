// What a page does by itself: the theme, the order of the frames, what a frame sees, and a player
// that goes where the browser cannot play.
(() => {
  const dark = () => document.body.classList.contains("dark");

  document.addEventListener("click", (event) => {
    if (event.target.closest(".iv-theme")) document.body.classList.toggle("dark", !dark());
  });

  document.addEventListener("change", (event) => {
    if (event.target.name !== "iv-order") return;
    const strip = event.target.closest(".iv-strip");
    strip.classList.toggle("iv-as-encoded", event.target.value === "encoded");
  });

  document.addEventListener(
    "error",
    (event) => {
      if (event.target.matches?.(".iv-player")) event.target.hidden = true;
    },
    true, // it does not bubble
  );

  // a frame sees the window that ends with it, and the first one
  const mark = (strip, parts, frame) => {
    const window = Number(strip.dataset.window), unit = Number(strip.dataset.unit);
    const now = Math.floor(frame / unit);
    let seen = 0;
    for (const part of parts) {
      const at = Math.floor(Number(part.dataset.f) / unit);
      const visible = at <= now && (window === 0 || at > now - window || at === 0);
      part.classList.toggle("iv-unseen", !visible);
      part.classList.toggle("iv-here", Number(part.dataset.f) === frame);
      seen += visible;
    }
    return seen;
  };

  const show = (strip, frame) => {
    mark(strip, strip.querySelectorAll("i[data-f]"), frame);
    const seen = mark(strip, strip.querySelectorAll("li[data-f]"), frame);
    const told = strip.querySelector(".iv-sees");
    told.textContent = `f${frame} sees ${seen} ${seen === 1 ? "frame" : "frames"}`;
  };

  // as it came: the ruler shows what the last frame sees
  const clear = (strip) => {
    const bars = strip.querySelectorAll("i[data-f]");
    mark(strip, bars, bars.length - 1);
    for (const cell of strip.querySelectorAll("li[data-f]")) {
      cell.classList.remove("iv-unseen", "iv-here");
    }
    const told = strip.querySelector(".iv-sees");
    told.textContent = told.dataset.all;
  };

  let current = null;
  document.addEventListener("pointerover", (event) => {
    const part = event.target.closest?.("[data-f]");
    const strip = part?.closest(".iv-strip") ?? null;
    if (current && current !== strip && current.isConnected) clear(current);
    current = strip;
    if (strip) show(strip, Number(part.dataset.f));
  });
})();
