function failDeeply(why) {
    function inner() {
        throw new Error(`failed: ${why}`);
    }
    return [why].map(() => inner())[0];
}

export { failDeeply };
//# sourceMappingURL=data:application/json;charset=utf-8;base64,eyJ2ZXJzaW9uIjozLCJmaWxlIjoiZmFpbGluZy5qcyIsInNvdXJjZXMiOlsiLi4vLi4vLi4vLi4vc3JjL2xpYi9mYWlsaW5nLnRzIl0sInNvdXJjZXNDb250ZW50IjpudWxsLCJuYW1lcyI6W10sIm1hcHBpbmdzIjoiQUFJTSxTQUFVLFVBQVUsQ0FBQyxHQUFXLEVBQUE7QUFDcEMsSUFBQSxTQUFTLEtBQUssR0FBQTtBQUNaLFFBQUEsTUFBTSxJQUFJLEtBQUssQ0FBQyxXQUFXLEdBQUcsQ0FBQSxDQUFFLENBQUM7SUFDbkM7QUFDQSxJQUFBLE9BQU8sQ0FBQyxHQUFHLENBQUMsQ0FBQyxHQUFHLENBQUMsTUFBTSxLQUFLLEVBQUUsQ0FBQyxDQUFDLENBQUMsQ0FBQztBQUNwQzs7OzsifQ==
