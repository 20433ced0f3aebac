// An OCPP peer made with ocpp-rpc, as a station or as a server, driven by lines of JSON.
//
// node peer.js '{"role":"station","endpoint":"ws://...","identity":"CS1","protocols":["ocpp1.6"],...}'
// node peer.js '{"role":"server","protocols":["ocpp1.6"],"password":"..."}'
//
// In:  {"answer":METHOD,"result":{...},"n":N}   answer calls of METHOD with this from now on
//      {"answer":METHOD,"error":CODE,...}       ... with this CALLERROR
//      {"call":METHOD,"params":{...},"n":N}     call (a server: its first client)
//      {"connect":true,"n":N}                   connect (a station)
//      {"close":CODE,"n":N}
// Out: {"port":P} of a server; {"called":METHOD,"params":...}; {"event":NAME,...};
//      {"n":N,"result":...} or {"n":N,"error":CODE,"message":...,"details":...}
'use strict';
const readline = require('readline');
const {RPCClient, RPCServer, createRPCError} = require('ocpp-rpc');

const options = JSON.parse(process.argv[2]);
const answers = new Map();
const clients = new Map();
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');

function attend(client) {
    client.on('strictValidationFailure', ({method, error, outbound}) =>
        say({event: 'invalid', method, outbound, text: String(error), details: error.details}));
    client.on('badMessage', ({buffer, error}) =>
        say({event: 'bad', text: buffer.toString(), error: String(error)}));
    client.on('close', ({code, reason}) => say({event: 'closed', identity: client.identity, code, reason: String(reason)}));
    client.handle(({method, params}) => {
        say({called: method, params, identity: client.identity});
        const answer = answers.get(method);
        if (!answer) throw createRPCError('NotImplemented', `nothing answers ${method} here`);
        if (answer.error) throw createRPCError(answer.error, answer.message ?? '', answer.details ?? {});
        return answer.result;
    });
}

async function obey(order, client) {
    if (order.answer) { answers.set(order.answer, order); return null; }
    if (order.call) return await client.call(order.call, order.params);
    if (order.connect) { await client.connect(); return {protocol: client.protocol}; }
    if ('close' in order) return await client.close({code: order.close, awaitPending: true});
    throw Error(`no such order: ${JSON.stringify(order)}`);
}

function listen(find) {
    readline.createInterface({input: process.stdin}).on('line', async (line) => {
        const order = JSON.parse(line);
        try {
            say({n: order.n, result: await obey(order, find(order)) ?? null});
        } catch (error) {
            say({n: order.n, error: error.rpcErrorCode ?? error.code ?? error.name, message: error.message,
                 details: error.details ?? null});
        }
    }).on('close', () => process.exit(0));
}

const password = options.password === undefined ? undefined : Buffer.from(options.password, 'hex');
if (options.role === 'station') {
    const client = new RPCClient({
        endpoint: options.endpoint, identity: options.identity, protocols: options.protocols, password,
        strictMode: options.strict ?? true, reconnect: false, callTimeoutMs: 30000,
    });
    attend(client);
    listen(() => client);
    say({ready: true});
} else {
    const server = new RPCServer({protocols: options.protocols, strictMode: options.strict ?? true, callTimeoutMs: 30000});
    server.auth((accept, reject, handshake) => {
        if (password && !(handshake.password && password.equals(handshake.password))) reject(401, 'who are you');
        else accept({});
    });
    server.on('client', (client) => {
        clients.set(client.identity, client);
        attend(client);
        say({event: 'connected', identity: client.identity, protocol: client.protocol ?? null});
    });
    listen(() => clients.values().next().value);
    server.listen(0, '127.0.0.1').then((http) => say({port: http.address().port}));
}
