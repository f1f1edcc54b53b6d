// Lists the visible texts of a page, shadow roots included, whose contrast is below WCAG 2.1 AA.
() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const brush = canvas.getContext("2d", { willReadFrequently: true });

  const known = new Map();
  const rgba = (color) => {
    if (!known.has(color)) known.set(color, read(color));
    return known.get(color);
  };
  const read = (color) => {
    const mixed = color.match(/^color\(srgb ([\d.e-]+) ([\d.e-]+) ([\d.e-]+)(?: \/ ([\d.]+))?\)$/);
    if (mixed) return [...mixed.slice(1, 4).map((v) => 255 * Number(v)), mixed[4] === undefined ? 1 : Number(mixed[4])];
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = color;
    brush.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = brush.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * below[i]).concat(1);
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => {
      const c = v / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parent = (element) => element.parentElement || element.getRootNode().host || null;
  const chain = (element) => {
    const found = [];
    for (let at = element; at; at = parent(at)) found.push(at);
    return found;
  };

  const weak = [];
  const look = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.shadowRoot) look(node.shadowRoot);
      if (node.nodeType !== Node.TEXT_NODE || !node.textContent.trim()) continue;
      const element = node.parentElement;
      if (!element || ["STYLE", "SCRIPT", "NOSCRIPT"].includes(element.tagName)) continue;
      const box = element.getBoundingClientRect();
      if (box.width < 2 || box.height < 2 || !element.checkVisibility()) continue;
      const ancestors = chain(element);
      if (ancestors.some((at) => at.matches?.("[disabled], [aria-disabled=true], .unseen"))) continue;
      const style = getComputedStyle(element);
      let background = [255, 255, 255, 1];
      for (const at of [...ancestors].reverse()) background = over(rgba(getComputedStyle(at).backgroundColor), background);
      const opacity = ancestors.reduce((product, at) => product * Number(getComputedStyle(at).opacity), 1);
      const ink = rgba(style.color);
      const text = over([ink[0], ink[1], ink[2], ink[3] * opacity], background);
      const [light, dark] = [luminance(text), luminance(background)].sort((a, b) => b - a);
      const ratio = (light + 0.05) / (dark + 0.05);
      const size = parseFloat(style.fontSize);
      const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      if (ratio < (large ? 3 : 4.5)) weak.push(`${ratio.toFixed(2)}: ${node.textContent.trim().slice(0, 60)}`);
    }
  };
  look(document.body);
  return weak;
}
