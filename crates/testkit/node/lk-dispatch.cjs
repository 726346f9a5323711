// Publishes a table of events with the real lk-dispatch, one after the other, and prints for each the line that a Node
// client would send to dispatchd for the same event.
//
// Usage: node lk-dispatch.cjs ENDPOINT STREAM PRODUCER_ID

const AWS = require("aws-sdk");
const createDispatch = require("lk-dispatch").default;

const [endpoint, kinesisStream, producerId] = process.argv.slice(2);
const kinesisClient = new AWS.Kinesis({
    endpoint,
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
});
const dispatch = createDispatch({ kinesisClient, kinesisStream, producerId });

const key = { partitionKey: "customer-9" };
const events = [
    ["full", { total: 12.5 }, { partitionKey: "customer-9", sourceUserId: "u-3" }],
    ["no options", { a: 1 }, undefined],
    ["empty options", { a: 1 }, {}],
    ["empty key and user", { a: 1 }, { partitionKey: "", sourceUserId: "" }],
    ["empty data", {}, key],
    ["numbers", { float: 1.5, negative: -0.25, large: 1e21, small: 1e-7, integer: 9007199254740991 }, key],
    ["text", { a: "quote \" slash / backslash \\ tab \t line \n control \u0001 \u2028 é 😀" }, key],
    ["nested", { list: [1, "2", null, true, { deep: [[]] }], nothing: null, order: { b: 1, a: 2 } }, key],
    ["type with \"quotes\", é and \u2028", { a: 1 }, { partitionKey: "clé \"9\" \\ 😀", sourceUserId: "ü\t3" }],
    ["date and undefined", { at: new Date(0), gone: undefined, nan: NaN }, key],
    ["longest key", { a: 1 }, { partitionKey: "é".repeat(256) }],
];

(async () => {
    for (const [type, data, options] of events) {
        await dispatch(type, data, options);
        console.log(JSON.stringify({ type, data, options }));
    }
})();
