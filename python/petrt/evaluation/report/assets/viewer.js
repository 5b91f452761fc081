// Three linked planes. Two canvases lie on each other: the lower shows the input, the upper another layer,
// and the slider is the opacity of the upper one. So the slider costs no upload to the GPU.
"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const page = JSON.parse($("viewer-data").textContent);
  const stage = $("stage");
  const fail = (why) => {
    document.documentElement.classList.add("still");
    $("viewer-fault").textContent = why;
  };
  // The browser paints nothing while the planes are set up; so the text is painted before.
  const painted = new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const ramp = (stops) => ({
    R: stops.map((c) => c[0]), G: stops.map((c) => c[1]), B: stops.map((c) => c[2]),
    A: stops.map(() => 255), I: stops.map((_, i) => Math.round((255 * i) / (stops.length - 1))),
  });
  const MAPS = {
    "inverse grey": [[255, 255, 255], [0, 0, 0]],
    grey: [[0, 0, 0], [255, 255, 255]],
    hot: [[0, 0, 0], [150, 0, 0], [255, 90, 0], [255, 200, 40], [255, 255, 255]],
    difference: [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]],
    uncertainty: [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]],
  };
  const options = () => ({
    isRadiologicalConvention: true, multiplanarLayout: 3, multiplanarShowRender: 0, multiplanarPadPixels: 6,
    crosshairWidth: 0.7, crosshairWidthUnit: "mm", crosshairColor: [0.05, 0.55, 0.65, 0.8], crosshairGap: 6, show3Dcrosshair: false,
    isColorbar: false, isOrientationTextVisible: true, showAllOrientationMarkers: true, fontMinPx: 14, dragMode: 3,
    dragAndDropEnabled: false, loadingText: "", logLevel: "silent",
    isSliceMM: true, sagittalNoseLeft: true, backColor: [1, 1, 1, 1], fontColor: [0.35, 0.4, 0.45, 1],
  });
  const lower = { nv: new niivue.Niivue(options()), name: null };
  const upper = { nv: new niivue.Niivue(options()), name: null };
  const attach = async (side, id) => {
    // NiiVue gets this very context from the canvas.
    if (!$(id).getContext("webgl2", { alpha: true, antialias: false })) {
      throw new Error("this browser has no WebGL 2, so the picture below stands still.");
    }
    await side.nv.attachToCanvas($(id), false);
    for (const [name, stops] of Object.entries(MAPS)) side.nv.addColormap(name, ramp(stops));
    // A plane too thin for letters above and below each other has only those at its sides.
    const { nv } = side, letters = nv.drawSliceOrientationText.bind(nv), none = () => {};
    nv.drawSliceOrientationText = (box, ...more) => {
      if (box[3] < 3 * nv.fontPx) nv.drawTextBelow = nv.drawTextAbove = none;
      if (box[2] < 3 * nv.fontPx) nv.drawTextRight = nv.drawTextLeft = none;
      letters(box, ...more);
      for (const name of ["drawTextBelow", "drawTextAbove", "drawTextRight", "drawTextLeft"]) delete nv[name];
    };
    side.nv.setSliceType(side.nv.sliceTypeMultiplanar);
  };

  const layers = new Map(page.layers.map((layer) => [layer.name, layer]));
  const state = { share: 1, grey: "inverse grey", top: page.top, blinking: 0 };
  const window_of = (layer) => [layer.low, layer.high].map((end) => (end * state.top) / page.top);
  const map_of = (layer) => (layer.kind === "image" ? state.grey : layer.kind);
  const loading = new Map();
  const image = (name, side) => {
    const key = name + side; // each canvas has images of its own, since they hold its textures
    if (!loading.has(key)) {
      const layer = layers.get(name), [low, high] = window_of(layer);
      loading.set(key, niivue.NVImage.loadFromBase64({
        base64: $("layer-" + name).textContent, name: name + ".nii.gz", colormap: map_of(layer),
        cal_min: low, cal_max: high, trustCalMinMax: false,
      }).then((loaded) => Object.assign(layer, { image: layer.image || loaded }) && loaded));
    }
    return loading.get(key);
  };

  const mirror = () => {
    if (!lower.name) return;
    lower.nv.scene.crosshairPos = [...upper.nv.scene.crosshairPos];
    lower.nv.scene.pan2Dxyzmm = [...upper.nv.scene.pan2Dxyzmm];
    lower.nv.drawScene();
  };
  const number = (value) => {
    const size = Math.abs(value);
    return size >= 1e6 || (size < 1e-3 && size > 0) ? value.toExponential(2) : Number(value.toPrecision(4)).toString();
  };
  // A value of a layer, without the digits below the step that its values are rounded to.
  const rounded = (value, step) => {
    const decimals = -Math.floor(Math.log10(step)), unit = 10 ** -decimals, whole = Math.round(value / unit);
    if (whole === 0) return "0";
    const size = Math.floor(Math.log10(Math.abs(value)));
    if (size >= 6 || size < -3) return value.toExponential(Math.max(0, size + decimals));
    return decimals > 0 ? value.toFixed(decimals) : String(whole * unit);
  };
  const read = () => {
    const at = upper.nv.scene.crosshairPos, mm = upper.nv.frac2mm(at);
    $("place").textContent = [["x", 0], ["y", 1], ["z", 2]].map(([n, i]) => `${n} ${Math.round(mm[i])}`).join("  ") + " mm";
    const vox = upper.nv.volumes.length ? upper.nv.frac2vox(at) : null;
    for (const [name, layer] of layers) {
      const cell = $("value-" + name);
      if (cell && layer.image && vox) cell.textContent = rounded(layer.image.getValue(vox[0], vox[1], vox[2]), layer.step);
    }
  };
  const dress = (side, shown) => {
    const layer = layers.get(side.name), map = map_of(layer), dark = map === "grey" || map === "hot" || layer.kind === "uncertainty";
    if (shown.colormap !== map) shown.colormap = map; // this sets a window, too
    [shown.cal_min, shown.cal_max] = window_of(layer);
    side.nv.opts.backColor = dark ? [0, 0, 0, 1] : layer.kind === "difference" ? [0.97, 0.97, 0.97, 1] : [1, 1, 1, 1];
    side.nv.opts.fontColor = dark ? [0.7, 0.74, 0.78, 1] : [0.35, 0.4, 0.45, 1];
  };
  const paint = (side) => {
    const shown = side.nv.volumes[0];
    if (!shown) return;
    dress(side, shown);
    side.nv.updateGLVolume();
  };
  const put = async (side, name) => {
    if (side.name === name) return;
    const loaded = await image(name, side === lower ? "<" : ">");
    const keep = side.nv.volumes.length ? { at: [...side.nv.scene.crosshairPos], pan: [...side.nv.scene.pan2Dxyzmm] } : null;
    side.name = name;
    dress(side, loaded);
    side.nv.volumes = [];
    side.nv.addVolume(loaded); // and draws it
    if (!keep) return;
    side.nv.scene.crosshairPos = keep.at; side.nv.scene.pan2Dxyzmm = keep.pan;
    side.nv.drawScene();
  };
  const legend = () => {
    const layer = layers.get(upper.name), [low, high] = window_of(layer);
    const stops = MAPS[map_of(layer)].map((c) => `rgb(${c})`).join(",");
    $("bar").style.background = `linear-gradient(to right, ${stops})`;
    $("bar-low").textContent = number(low);
    $("bar-high").textContent = number(high);
    $("right-name").textContent = layer.title;
    for (const button of document.querySelectorAll("[data-layer]")) {
      button.setAttribute("aria-pressed", String(button.dataset.layer === upper.name));
    }
  };
  const fade = (share) => {
    state.share = Math.min(1, Math.max(0, share));
    $("upper").style.opacity = state.share;
    $("slider").value = Math.round(100 * state.share);
    $("slider").setAttribute("aria-valuetext", `${Math.round(100 * state.share)} % ${layers.get(upper.name)?.title}`);
  };
  const choose = async (name) => {
    await put(upper, name);
    fade(state.share || 1);
    legend();
    read();
  };
  const blink = (on = !state.blinking) => {
    if (!on && !state.blinking) return;
    clearInterval(state.blinking);
    state.blinking = on ? setInterval(() => fade(state.share > 0.5 ? 0 : 1), 600) : 0;
    $("blink").setAttribute("aria-pressed", String(Boolean(on)));
    if (!on) fade(1);
  };
  const tops = () => [...$("window").options].map((option) => Number(option.value));
  const rewindow = (top) => { state.top = top; $("window").selectedIndex = tops().indexOf(top); paint(lower); paint(upper); legend(); };
  const step_window = (by) => {
    const next = tops()[tops().indexOf(state.top) + by];
    if (next) rewindow(next);
  };
  const go = (mm) => {
    upper.nv.scene.crosshairPos = upper.nv.mm2frac(mm);
    upper.nv.drawScene(); mirror(); read();
  };
  const slice = (by) => { upper.nv.moveCrosshairInVox(0, 0, by); mirror(); read(); };
  const reset = () => {
    upper.nv.scene.pan2Dxyzmm = [0, 0, 0, 1];
    blink(false); fade(1); rewindow(page.top); go(page.centre);
  };

  const keys = {
    b: () => blink(), " ": () => { blink(false); fade(state.share > 0.5 ? 0 : 1); },
    ArrowLeft: () => fade(state.share - 0.05), ArrowRight: () => fade(state.share + 0.05),
    ArrowUp: () => slice(1), ArrowDown: () => slice(-1),
    "+": () => step_window(1), "-": () => step_window(-1), r: reset,
  };
  page.layers.slice(1).forEach((layer, i) => { keys[String(i + 1)] = () => choose(layer.name); });
  // Arrows belong to the planes while half of these are in view and nothing elsewhere has the focus.
  const has_arrows = (at) => {
    const box = stage.getBoundingClientRect(), seen = Math.min(box.bottom, innerHeight) - Math.max(box.top, 0);
    return (at === document.body || stage.closest("section").contains(at)) && seen >= box.height / 2;
  };
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || at.tagName === "SELECT") return;
    if (at.tagName === "BUTTON" && event.key === " ") return;
    if (at.tagName === "INPUT" && event.key.startsWith("Arrow")) return;
    const known = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    // The viewer's own keys (clip planes, 3D views) have no meaning here.
    if (stage.contains(at)) event.stopPropagation();
    if (known && (!event.key.startsWith("Arrow") || has_arrows(at))) { event.preventDefault(); known(); }
  }, true);
  $("slider").addEventListener("input", (event) => { if (state.blinking) blink(false); fade(event.target.value / 100); });
  $("blink").addEventListener("click", () => blink());
  $("reset").addEventListener("click", reset);
  $("window").addEventListener("change", (event) => rewindow(Number(event.target.value)));
  $("grey").addEventListener("change", (event) => { state.grey = event.target.value; paint(lower); paint(upper); legend(); });
  for (const button of document.querySelectorAll("[data-layer]")) button.addEventListener("click", () => choose(button.dataset.layer));
  for (const link of document.querySelectorAll("[data-go]")) {
    link.addEventListener("click", () => {
      go(link.dataset.go.split(",").map(Number));
      stage.scrollIntoView({ block: "center" });
      $("upper").focus({ preventScroll: true }); // so that arrows move on from there
    });
  }
  upper.nv.onLocationChange = () => { mirror(); read(); };
  for (const kind of ["wheel", "pointermove", "touchmove", "pointerup"]) {
    stage.addEventListener(kind, () => requestAnimationFrame(mirror), { passive: true });
  }

  try {
    await painted;
    image("output", ">"); // it is unpacked in the meantime
    await attach(upper, "upper");
    await put(upper, "output");
    legend(); fade(1); go(page.centre);
    document.documentElement.classList.add("ready");
    await attach(lower, "lower"); // what it shows is covered until the slider moves
    await put(lower, "input");
    mirror();
    for (const layer of page.layers) { await image(layer.name, ">"); read(); }
    document.documentElement.classList.add("all-ready");
  } catch (error) {
    fail(`The viewer stopped: ${error.message}`);
  }
})();
