// Pictures of one image under one slider. Without this script they stand beside each other.
for (const box of document.querySelectorAll(".compare")) {
  const layers = [...box.querySelectorAll("figure")];
  const names = layers.map((layer) => layer.querySelector("figcaption").textContent);
  const slider = box.querySelector("input");
  const [left, right, edge] = ["left", "right", "edge"].map((name) => box.querySelector("." + name));
  const show = () => {
    const place = slider.value / 100;
    const under = Math.floor(place);
    const part = Math.round(100 * (place - under));
    layers.forEach((layer, i) => {
      const seen = Math.min(Math.max(place - i + 1, 0), 1);
      layer.style.clipPath = i ? `inset(0 ${100 - 100 * seen}% 0 0)` : "";
    });
    edge.style.left = part + "%";
    edge.hidden = left.hidden = part === 0;
    left.textContent = names[under + 1];
    right.textContent = names[under];
    slider.setAttribute("aria-valuetext", part ? `${part} % ${names[under + 1]}, ${100 - part} % ${names[under]}` : names[under]);
  };
  slider.addEventListener("input", show);
  box.classList.add("on");
  show();
}
