// The way to the broker: what the server says of it, and an MQTT client that shows the page's token where one is asked.

// The settings of the page, or null where the token is missing or wrong.
export async function ask(token) {
  const answer = await fetch("settings.json", token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  return answer.status === 401 ? null : answer.json();
}

// An MQTT client that subscribes to kinds of messages, and to other topics below the base; take gets the name and the kind
// in a topic and the payload.
export function connect(settings, { token = "", user = {}, kinds, others = [], take, change = () => {}, refused = () => {} }) {
  const scheme = location.protocol.replace("http", "ws");
  const client = mqtt.connect(settings.broker ?? `${scheme}//${location.host}/mqtt`, {
    clientId: `agfn-dashboard-${crypto.randomUUID().slice(0, 13)}`,
    protocolVersion: 4, // what the embedded broker speaks
    clean: true,
    keepalive: 15,
    connectTimeout: 5000,
    reconnectPeriod: 1500,
    queueQoSZero: false,
    resubscribe: false,
    timerVariant: "native", // its own timers need a worker made of text, which the page forbids
    // A websocket of a page can carry a token nowhere else but in the address, where it would be logged.
    createWebsocket: (url, spoken) =>
      new WebSocket(url, token && !settings.broker ? [...spoken, `token.${token}`] : spoken),
    ...user,
  });
  client.on("connect", () => {
    const topics = [...kinds.map((kind) => `+/${kind}`), ...others];
    client.subscribe(topics.map((topic) => `${settings.base}/${topic}`), { qos: 1 });
    change(true);
  });
  client.on("close", () => change(false));
  client.on("error", (error) => {
    if (error.code !== 4 && error.code !== 5) return; // 3.1.1: bad user name or password, not authorised
    client.end(true);
    refused();
  });
  client.on("message", (topic, payload) => {
    const [name, ...kind] = topic.slice(settings.base.length + 1).split("/");
    take(name, kind.join("/"), payload);
  });
  return client;
}
