// What the page does without asking the server.
window.dash_clientside = Object.assign({}, window.dash_clientside, {
  vblake: {
    // Light or dark: as chosen before, else as the system has it; the button changes it.
    theme: function (clicks, kept) {
      const root = document.documentElement;
      const system = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
      const now = root.dataset.theme || kept || system;
      const next = clicks ? (now === "dark" ? "light" : "dark") : now;
      root.dataset.theme = next;
      return [next, clicks ? next : kept];
    },
    // The part of the x-axis that is seen after a zoom. Plotly tells of every change of size, too.
    zoom: function (change) {
      if (change && "xaxis.range[0]" in change) {
        return { range: [change["xaxis.range[0]"], change["xaxis.range[1]"]] };
      }
      if (change && change["xaxis.autorange"]) {
        return { range: null, when: Date.now() };
      }
      return window.dash_clientside.no_update;
    },
    // Saves a figure as it is seen, with a name that says what it shows.
    save: function (clicks, title) {
      const id = window.dash_clientside.callback_context.triggered_id;
      if (!id || !clicks.some((n) => n)) {
        return window.dash_clientside.no_update;
      }
      const plot = document.querySelector("#" + id.slot + " .js-plotly-plot");
      const size = plot.getBoundingClientRect();
      const words = (title || "figure").replace(/[^A-Za-z0-9]+/g, "-").replace(/^-|-$/g, "");
      window.Plotly.downloadImage(plot, {
        format: id.format,
        width: size.width,
        height: size.height,
        scale: id.format === "png" ? 3 : 1,
        filename: "vblake-" + words + "-" + id.slot,
      });
      return window.dash_clientside.no_update;
    },
    copyLink: async function () {
      try {
        await navigator.clipboard.writeText(window.location.href);
        return "Link copied";
      } catch {
        return "Copy the address above";
      }
    },
  },
});
