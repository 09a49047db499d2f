// Times as people read them: m:ss or h:mm:ss, cut, never rounded up past the moment (times.py has its twin).
const formatTime = (seconds, decimals = 0) => {
  const step = 10 ** decimals, units = Math.floor(Math.max(0, seconds) * step + 1e-6);
  const whole = Math.floor(units / step), pad = (n, width = 2) => String(n).padStart(width, "0");
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
  const text = h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
  return decimals ? `${text}.${pad(units % step, decimals)}` : text;
};

// Seconds as a person would type them, to the hundredth: 1:20.5.
const moment = (seconds) => formatTime(Math.round(seconds * 100) / 100, 2).replace(/\.?0+$/, "");

// A range (seconds) at least a second long, if there is so much between `least` and `most`, which it keeps to.
const stretch = (from, to, least, most) => {
  const lack = Math.max(0, 1 - (to - from)) / 2;
  const start = Math.max(least, Math.min(from - lack, most - 1));
  return { start, end: Math.min(most, Math.max(to + lack, start + 1)) };
};
