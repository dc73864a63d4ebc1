// The search of the site runs in a worker, which browsers refuse to a page that was opened from a
// file. There a hidden frame does the worker's work. Zensical would fetch such a stand-in from the
// network; this one lies beside the pages.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #ready;

    constructor(url) {
      super();
      this.#frame.hidden = true;
      document.documentElement.append(this.#frame);
      const inside = this.#frame.contentWindow;
      inside.postMessage = (data) => this.#answer(structuredClone(data));
      const script = inside.document.createElement("script");
      this.#ready = new Promise((loaded) => (script.onload = loaded));
      script.src = new URL(url, location.href).href;
      inside.document.body.append(script);
    }

    postMessage(data) {
      const inside = this.#frame.contentWindow;
      const copy = structuredClone(data);
      this.#ready.then(() => inside.dispatchEvent(new inside.MessageEvent("message", { data: copy })));
    }

    terminate() {
      this.#frame.remove();
    }

    #answer(data) {
      setTimeout(() => {
        const event = new MessageEvent("message", { data });
        this.onmessage?.(event);
        this.dispatchEvent(event);
      });
    }
  };
}
