export * from "@headwater/cdc/ChangeSource"
