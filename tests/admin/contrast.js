// Texts of the page whose colour stands out from its ground by less than 4.5 to 1 (WCAG 2.2, AA).
(() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const paint = canvas.getContext("2d", { willReadFrequently: true });

  // Any colour that the browser knows, over a ground, as three bytes.
  function bytes(colour, ground) {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = `rgb(${ground.join(" ")})`;
    paint.fillRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  }

  function ground(element) {
    if (!element) return bytes(getComputedStyle(document.documentElement).colorScheme.includes("dark") ? "black" : "white", [255, 255, 255]);
    return bytes(getComputedStyle(element).backgroundColor, ground(element.parentElement));
  }

  function light(colour) {
    const [red, green, blue] = colour.map((byte) => byte / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    const text = walk.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || element.closest("script, svg, .visually-hidden")) continue;
    const under = ground(element);
    const pair = [light(bytes(getComputedStyle(element).color, under)), light(under)].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${text.slice(0, 60)}`);
  }
  return poor;
})()
